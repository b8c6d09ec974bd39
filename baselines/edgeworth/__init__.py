"""The market of Tonha, Marques and Alvarenga (2021) as its authors draw it, on the power flow.

Two players sell into one feeder and care for their own power; consumers and utilities care for the
loss reduction. Letters: i the associated microgrids (horizontal axis), m the large one; x injection
in MW, y loss reduction as a share; W and H width and height of the Edgeworth box.

sellers        teams of agents with fixed splits on the feeder of one scenario
limits         which limits an injection breaks, where, and by how much
algorithm_1    sweep over the injections, operating curves, and the walk of the printed procedure
surface        bicubic spline of the loss reduction, with its error measured on the power flow
box            the box: utilities, indifference curves, operating points
contract       the contract curve in both modes, its dominated points, the operator's choice
pareto         Pareto frontier by epsilon-constraint and by brute force; utility border
trades         improving trades from a corner of the lens to the contract curve, and their gains
kkt            first-order conditions with one multiplier per player and limit, on the power flow
nikaido_isoda  the function of Nikaido and Isoda, and the relaxation that drives it to zero
fits           the printed matrices and Algorithm 2 as printed: published algebra, no physics
"""
