"""The feeder model and the IEEE 13-node data."""

import pickle
from dataclasses import replace

import pytest

from nashgrid.envs.networks import (
    Bus,
    Line,
    Load,
    Switch,
    ieee13,
    ieee13_published_solution,
    microgrid_load_kw_kvar,
    to_pandapower,
)
from nashgrid.envs.physics import Connection

VARIANTS = ("published", "flat", "taps", "paper_like")
KM_PER_MILE = 1.609344


def test_published_loads_add_up_to_the_published_totals():
    # Kersting's table of the 13-node feeder: 3466 kW, 2102 kvar, capacitors 700 kvar.
    feeder = ieee13("published")
    assert sum(load.p_kw for load in feeder.loads) == pytest.approx(3466.0)
    assert sum(load.q_kvar for load in feeder.loads) == pytest.approx(2102.0)
    assert sum(capacitor.q_kvar for capacitor in feeder.capacitors) == pytest.approx(700.0)


def test_market_variants_have_the_smaller_load_at_675a():
    loads = {load.name: load.p_kw for load in ieee13("flat").loads}
    assert loads["675.a"] == 480.0
    assert {load.name: load.p_kw for load in ieee13("flat", load_675a_kw=485).loads}["675.a"] == 485


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("placement", ["half", "kersting", "third"])
def test_placement_of_the_distributed_load_keeps_its_size_and_the_line(variant, placement):
    feeder = ieee13(variant, distributed_load=placement)
    share = [load for load in feeder.loads if load.name.endswith("distributed")]
    assert sum(load.p_kw for load in share) == pytest.approx(200.0)
    span = [x.length_km for x in feeder.lines if x.name in ("632-671", "632-670", "670-671")]
    assert sum(span) == pytest.approx(2000 * 0.3048e-3)


def test_paper_like_connects_the_loads_of_its_microgrids_unless_told_not_to():
    table = [kw for name in ("microgrid_2", "microgrid_3")
             for kw, _ in microgrid_load_kw_kvar(name).values()]  # fmt: skip
    assert sum(table) == 443 + 273
    with_loads, without = ieee13("paper_like"), ieee13("paper_like", microgrid_loads=False)
    extra = sum(x.p_kw for x in with_loads.loads) - sum(x.p_kw for x in without.loads)
    assert extra == pytest.approx(443 + 273)
    with pytest.raises(ValueError, match="only 'paper_like' has"):
        ieee13("flat", microgrid_loads=True)


def test_lateral_lengths_of_the_variants():
    length = {line.name: line.length_km for line in ieee13("taps").lines}
    assert (length["671-mg2"], length["671-mg3"]) == (0.4476, 0.2476)
    length = {line.name: line.length_km for line in ieee13("paper_like").lines}
    assert length["680-mg2"] == pytest.approx(600 * 0.3048e-3)
    assert length["680-mg3"] == pytest.approx(400 * 0.3048e-3)


def test_published_solution_names_existing_bus_phases():
    v_pu, loss_kw = ieee13_published_solution()
    names = {f"{bus.name}.{phase}" for bus in ieee13("published").buses for phase in bus.phases}
    assert set(v_pu) == names
    assert loss_kw == 111.063


@pytest.mark.parametrize("variant", VARIANTS)
def test_feeders_are_values(variant):
    feeder = ieee13(variant)
    copy = pickle.loads(pickle.dumps(feeder))
    assert copy == feeder == ieee13(variant)
    assert hash(copy) == hash(feeder)
    assert feeder != replace(feeder, taps_pu=(1.01, 1.0, 1.0))


def test_a_lateral_may_have_fewer_phases():
    feeder = ieee13("flat").with_lateral("house", "684", "605", 50.0)
    assert feeder.bus("house").phases == "c"
    assert feeder.lines[-1] == Line("684-house", "684", "house", "605", 0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.with_lateral("x", "nowhere", "601", 10.0), "'nowhere' is not in feeder"),
        (
            lambda f: f.with_lateral("x", "684", "601", 10.0),
            "needs phases that its sending bus has",
        ),
        (lambda f: f.with_lateral("x", "671", "699", 10.0), "configuration '699' is not in"),
        (lambda f: f.with_lateral("x", "671", "601", 0.0), "length_km"),
        (lambda f: f.with_lateral("675", "671", "601", 10.0), "names must differ"),
        (lambda f: f.with_loads(Load("l", "652", "b", "P", 1.0, 0.0)), "which has 'a'"),
        (lambda f: f.with_loads(Load("l", "652", "a", "X", 1.0, 0.0)), "'P', 'I' or 'Z'"),
        (lambda f: replace(f, switches=(*f.switches, Switch("s", "680", "675"))), "not a tree"),
        (lambda f: replace(f, buses=(*f.buses, Bus("island", "abc", 4.16))), "not fed"),
        (lambda f: replace(f, taps_pu=(1.0, 1.0, 10.0)), "three values"),
        (lambda f: ieee13("fast"), "variant = 'fast': give one of published, flat"),  # type: ignore[arg-type]
        (lambda f: ieee13("flat", distributed_load="x"), "give one of half"),  # type: ignore[arg-type]
        (lambda f: ieee13("flat", ampacity_606_a=0.0), "above 0 A"),
        (lambda f: microgrid_load_kw_kvar("microgrid_9"), "microgrid_9"),
    ],
)
def test_a_feeder_that_does_not_fit_together_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change(ieee13("flat"))


def test_pandapower_net_has_the_sequence_values_of_the_transposed_lines():
    # Configuration 601: z1 = mean self - mean mutual, z0 = mean self + 2 mean mutual, by hand.
    net = to_pandapower(ieee13("flat"), [Connection("675")])
    line = net.line[net.line.name == "650-632"].iloc[0]
    r_self, r_mutual = (0.3465 + 0.3375 + 0.3414) / 3, (0.156 + 0.158 + 0.1535) / 3
    x_self, x_mutual = (1.0179 + 1.0478 + 1.0348) / 3, (0.5017 + 0.4236 + 0.3849) / 3
    assert line.r_ohm_per_km == pytest.approx((r_self - r_mutual) / KM_PER_MILE)
    assert line.x_ohm_per_km == pytest.approx((x_self - x_mutual) / KM_PER_MILE)
    assert line.r0_ohm_per_km == pytest.approx((r_self + 2 * r_mutual) / KM_PER_MILE)
    assert line.x0_ohm_per_km == pytest.approx((x_self + 2 * x_mutual) / KM_PER_MILE)
    assert line.max_i_ka == 0.73
    assert list(net.asymmetric_sgen.name) == ["675"]
    power = net.asymmetric_load[[f"p_{phase}_mw" for phase in "abc"]].to_numpy().sum()
    assert power == pytest.approx(3.461)


def test_pandapower_refuses_taps_that_differ_between_phases():
    with pytest.raises(ValueError, match=r"taps_pu = \(1.0375, 1.0, 1.0375\).*one vm_pu"):
        to_pandapower(ieee13("taps"))
