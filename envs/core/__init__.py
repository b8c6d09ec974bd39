"""The parts that every game shares: contract, random numbers, copies, seats, registry, checks."""
