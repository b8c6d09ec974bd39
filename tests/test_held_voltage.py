"""Batched power flows with generators that hold voltages, against runpp and a closed form."""

import numpy as np
import pandapower as pp
import pytest

from nashgrid.envs.coalition.cases import grid
from nashgrid.envs.physics.held_voltage import compile_held, solve_held


def two_buses():
    """A generator at 1.05 pu behind x = 0.1 p.u. without resistance, and a load beside it."""
    net = pp.create_empty_network(sn_mva=100.0)
    a, b = pp.create_bus(net, 10.0), pp.create_bus(net, 10.0)
    pp.create_ext_grid(net, a, vm_pu=1.0, va_degree=30.0)
    pp.create_line_from_parameters(
        net, a, b, length_km=1.0, r_ohm_per_km=0.0, x_ohm_per_km=0.1, c_nf_per_km=0.0, max_i_ka=1.0
    )
    pp.create_gen(net, b, p_mw=50.0, vm_pu=1.05)
    pp.create_load(net, b, p_mw=20.0)
    return net


def test_power_between_held_voltages_is_that_of_the_sine():
    held = compile_held(two_buses())
    limit = 100.0 * 1.05 / 0.1  # p = v1 v2 sin(angle) / x carries no more
    p = 50.0 + np.array([-0.99, 0.0, 0.5, 0.99, 1.01, np.nan]) * limit
    flow = solve_held(held, p[:, None], np.zeros((6, 1)))
    assert flow.converged.tolist() == [True] * 4 + [False] * 2
    np.testing.assert_allclose(flow.v_pu[:4], [[1.0, 1.05]] * 4, atol=1e-9)
    np.testing.assert_allclose(flow.loss_mw, 0.0, atol=1e-6)
    assert not flow.v_pu[4:].any()


def test_a_case_with_its_own_loads_is_runpp_and_a_row_its_own():
    net = grid("case57").pandapower_net()
    held = compile_held(net)
    level = np.linspace(0.7, 1.0, 7)[:, None]
    p, q = level * held.model.load_p_mw, level * held.model.load_q_mvar
    flow = solve_held(held, p, q)
    assert flow.converged.all()
    pp.runpp(net, init="dc", tolerance_mva=1e-8, numba=False)
    np.testing.assert_allclose(flow.v_pu[-1], net.res_bus.vm_pu, atol=1e-8)
    loss = net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum()
    assert flow.loss_mw[-1] == pytest.approx(loss, abs=1e-6)
    alone = solve_held(held, p[3:4], q[3:4])
    assert alone.v_pu.tobytes() == flow.v_pu[3:4].tobytes() and alone.loss_mw == flow.loss_mw[3]


def test_what_does_not_fit_is_said():
    held = compile_held(two_buses())
    with pytest.raises(ValueError, match=r"give \(B, 1\) for both"):
        solve_held(held, np.zeros((2, 2)), np.zeros((2, 2)))
    net = two_buses()
    pp.create_ext_grid(net, 1)
    with pytest.raises(ValueError, match="2 buses with an ext_grid"):
        compile_held(net)
    assert solve_held(held, np.zeros((0, 1)), np.zeros((0, 1))).v_pu.shape == (0, 2)


@pytest.mark.parametrize("shift_degree", [30.0, 150.0, -90.0, 210.0])
def test_transformers_that_turn_the_phase_do_not_lead_to_a_false_solution(shift_degree):
    net = pp.create_empty_network(sn_mva=100.0)
    a, b = pp.create_bus(net, 110.0), pp.create_bus(net, 20.0)
    pp.create_ext_grid(net, a, vm_pu=1.02)
    pp.create_transformer(net, a, b, "25 MVA 110/20 kV")
    net.trafo["shift_degree"] = shift_degree
    pp.create_load(net, b, p_mw=12.0, q_mvar=3.0)
    held = compile_held(net)
    flow = solve_held(held, np.array([[12.0]]), np.array([[3.0]]))
    pp.runpp(net, init="dc", tolerance_mva=1e-8, numba=False)
    assert flow.converged.all()
    np.testing.assert_allclose(flow.v_pu[0], net.res_bus.vm_pu, atol=1e-8)
    assert flow.loss_mw[0] == pytest.approx(net.res_trafo.pl_mw.sum(), abs=1e-7)
