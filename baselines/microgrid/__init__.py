"""A microgrid from inside: PV, a dispatchable unit and storage behind one connection point.

hybrid     HybridMicrogrid: own load, sources, connection, tariff
day        shapes of a day (PV by clear-sky irradiance, load of the IEEE Reliability Test System),
           tariff(), hybrid_microgrids(): three microgrids for the market's places
program    the convex program of a day, its dual bound, what can be exported at most
dispatch   dispatch(): least cost with marginal prices and a certificate
sources    sources_game(): the sources as players, Shapley value, core, nucleolus
supply     supply_curve(): exact marginal cost against exported power in one period
offer      offer(): what the microgrid brings to the market, and what the fit loses
trading    trade(): offers as arguments of market-v0, the equilibrium, and the regret of the fit
"""
