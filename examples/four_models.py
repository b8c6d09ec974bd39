"""What coordination saves on the IEEE 300-bus system, by four models of behaviour, and its prices.

python examples/four_models.py
"""

from nashgrid.baselines.coalition.ac import play_ac
from nashgrid.baselines.coalition.models import solve_model
from nashgrid.baselines.coalition.supporting_payments import support_of_model
from nashgrid.envs.coalition.cases import grid
from nashgrid.envs.coalition.instance import erdos_renyi

public = grid("case300", resistance="proportional")
for density in (0.0, 2 / 300, 8 / 300):
    instance = erdos_renyi(public, density, side_km=1.0, seed=0, rho=0.3)
    print(f"{instance.n_private} private lines")
    for model in ("ad-hoc", "self-interested", "cooperative", "integrated"):
        found = solve_model(instance, model, method="newton")
        ac = play_ac(instance, [found])
        loss_pu = ac.ac_loss_pu[0]  # NaN where the power flow does not converge
        print(f"  {model:16} loss {found.loss_pu:6.3f} pu, by AC power flow {loss_pu:6.3f}")
        if model == "cooperative":
            support = support_of_model(instance, found)
            regret = support.line_regret.max(initial=0.0)
            print(f"    at prices {found.price.min():.3f} to {found.price.max():.3f} the owners of")
            print(f"    a line would gain at most {regret:.1e} by another flow")
