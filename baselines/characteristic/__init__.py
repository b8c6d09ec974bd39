"""Tools of coalitional games, for any characteristic function and any partition function.

A characteristic function is an array f64[2^n], indexed by the bit mask of the members (bit i:
player i), with v[0] = 0. A partition is a row of labels i64[n], groups numbered by their first
player.

coalitions         checks, members, sizes and payoffs of coalitions
values             shapley, shapley_sampled (with confidence intervals), banzhaf
core               excess, core_distance, in_core, blocking, least_core (of any partition, with a
                   balanced collection as its certificate), cost_of_stability, nucleolus
properties         superadditivity, convexity, monotonicity, each as a gap; zero_normalised
partitions         all partitions, their rows, their groups; best_partition
partition_function values that depend on the other groups: PartitionFunction, characteristic (by
                   deviation rule), own_games, shared
stability          Nash, individual, contractual and merge-and-split stability of all partitions;
                   efficiency: prices of anarchy and stability
dynamics           better_replies, move_gains, merge_and_split, for any number of players
"""
