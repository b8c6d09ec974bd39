"""Balanced medium-voltage networks by name or from a file, and where their microgrids are.

case33bw is the radial 12.66 kV feeder of M. E. Baran and F. F. Wu, "Network reconfiguration in
distribution systems for loss reduction and load balancing", IEEE Transactions on Power Delivery
4(2), 1989: 33 buses, 3.715 MW, a trunk (buses 0 to 17) with three laterals (18 to 21, 22 to 24, 25
to 32). Without injection it loses 202.7 kW at a lowest voltage of 0.9131 pu, at bus 17, both as
published. Its lines have no ratings: voltages alone limit what is injected.

cigre_mv is the European medium-voltage benchmark of CIGRE Task Force C6.04.02 (2014), 20 kV: feeder
1 with the buses 3 to 11 and feeder 2 with 13 and 14, each behind a transformer of 25 MVA, the open
ring switches open. 39.9 of its 44.7 MW are drawn at the two busbars (1 and 12). Without injection
it loses 303.6 kW at 0.923 to 1.03 pu; the highest loadings are 101 % (trafo 0) and 97 % (line 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from nashgrid.envs.core.errors import unknown
from nashgrid.envs.networks.low_voltage import saved_net

_BUILDERS = {"case33bw": "case33bw", "cigre_mv": "create_cigre_network_mv"}
NAMES = tuple(_BUILDERS)

MICROGRID_BUSES: Mapping[str, Mapping[int, tuple[int, ...]]] = MappingProxyType(
    {
        "case33bw": MappingProxyType(
            {
                3: (11, 23, 29),
                10: (6, 7, 12, 16, 20, 23, 24, 27, 29, 31),
                30: tuple(bus for bus in range(2, 33) if bus != 18),
            }
        ),
        "cigre_mv": MappingProxyType({3: (6, 10, 14), 10: (3, 4, 5, 6, 7, 8, 9, 10, 11, 14)}),
    }
)
"""Of each network, number of microgrids -> their buses, all of which carry load.

case33bw, 3: of all triples the one that loses least at 1 MW each (72.5 kW), the trunk and its two
long laterals. 10: those that save the most at 0.3 MW each when chosen one after the other (63.8
kW), but for one moved to the lateral that was left without (64.2 kW). 30: all but 1 and 18, next to
the source. cigre_mv, 3: the ends of both feeders, the ring of feeder 1 twice. 10: all that carry
load but the two busbars and the smallest load (bus 13); at 0.3 MW each it loses 105.3 kW.
"""


def named_net(network: str) -> Any:
    """A pandapower net of one's own to change.

    network : one of NAMES, or the path of a net saved with pandapower.to_json, which ends in .json;
        a file is read again after it was written to

    Raises ValueError on an unknown name, an absent file, and a file that is not a net.
    """
    if network in _BUILDERS:
        return deepcopy(_built(network))
    return saved_net(network, NAMES)


def microgrid_buses(network: str, microgrids: int) -> tuple[int, ...]:
    """The buses of 3, 10 or (case33bw) 30 microgrids in a named network, see MICROGRID_BUSES."""
    if network not in MICROGRID_BUSES:
        raise ValueError(unknown("network", network, NAMES))
    choices = MICROGRID_BUSES[network]
    if microgrids not in choices:
        raise ValueError(
            f"microgrids = {microgrids} in {network!r}: give {', '.join(map(str, choices))}, or "
            "give the buses themselves"
        )
    return choices[microgrids]


@lru_cache(maxsize=4)
def _built(name: str) -> Any:
    import pandapower.networks as networks

    return getattr(networks, _BUILDERS[name])()
