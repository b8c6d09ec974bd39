"""Eight float64 lanes as one numba value, with elementwise arithmetic in exactly the order written.

The automatic vectoriser gives up on kernels whose arrays may alias; a vector value needs no proof.
Every operation is an IEEE operation per lane (fused multiply-add included), so that a lane's result
depends neither on its neighbours nor on the processor. Wider or narrower hardware splits the value.
This module imports numba; import it inside functions.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 8
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)


class Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"Lanes{LANES}")


lanes_type = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VECTOR)


def _elementwise(op, instruction: str) -> None:
    @infer_global(op)
    class _Typing(ConcreteTemplate):
        cases = [signature(lanes_type, lanes_type, lanes_type)]

    @lower_builtin(op, lanes_type, lanes_type)
    def _lower(context, builder, sig, args):
        return getattr(builder, instruction)(*args)


for _op, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _elementwise(_op, _instruction)


def _row_pointer(context, builder, array_type, array, row):
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.gep(data, [builder.mul(row, ir.Constant(row.type, LANES))])
    return builder.bitcast(first, _VECTOR.as_pointer())


@intrinsic
def load(typingctx, array, row):
    """Row `row` of a flat array of rows of eight."""

    def codegen(context, builder, sig, args):
        return builder.load(_row_pointer(context, builder, sig.args[0], *args), align=8)

    return lanes_type(array, types.uint64), codegen


@intrinsic
def store(typingctx, array, row, value):
    """Write row `row` of a flat array of rows of eight."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _row_pointer(context, builder, sig.args[0], *args[:2]), align=8)
        return context.get_dummy_value()

    return types.void(array, types.uint64, lanes_type), codegen


@intrinsic
def splat(typingctx, number):
    """The same number in all lanes."""

    def codegen(context, builder, sig, args):
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        one = builder.insert_element(undefined, args[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, undefined, zeros)

    return lanes_type(types.float64), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a b + c, rounded once."""

    def codegen(context, builder, sig, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f64"
        )
        return builder.call(function, args)

    return lanes_type(lanes_type, lanes_type, lanes_type), codegen


@intrinsic
def sqrt(typingctx, a):
    """Square root of every lane."""

    def codegen(context, builder, sig, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.sqrt.v{LANES}f64"
        )
        return builder.call(function, args)

    return lanes_type(lanes_type), codegen


@intrinsic
def where_less(typingctx, a, b, yes, no):
    """Per lane: yes where a < b, else no; NaN counts as not less."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return lanes_type(lanes_type, lanes_type, lanes_type, lanes_type), codegen


@intrinsic
def minimum(typingctx, a, b):
    """Per lane: b where a or b is NaN, else the smaller."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return lanes_type(lanes_type, lanes_type), codegen


@intrinsic
def less(typingctx, a, b):
    """Bit k is set where lane k has a < b; NaN counts as not less."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(builder.fcmp_ordered("<", *args), ir.IntType(LANES))
        return builder.zext(bits, ir.IntType(64))

    return types.uint64(lanes_type, lanes_type), codegen
