"""The microgrid market on the IEEE 13-bus feeder."""
