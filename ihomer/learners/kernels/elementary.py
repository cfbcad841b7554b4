"""exp, log, sigmoid and softplus of one float32 number, for use inside loops over arrays.

In: a finite float32. Out: a float32, right to about 1e-7 relative. They are here because a call
of the C library keeps LLVM from vectorising the loop around it and may differ from one machine's
library to another's: these are additions, multiplications and bit patterns only, so a loop over
an array runs eight lanes at a time and gives the same bits everywhere.

Measured on a Xeon with AVX2, ns per element of a loop over float32: exp 1.0, log 1.4, sigmoid
1.2, softplus 2.2, against 3.7 for `math.exp`.
"""

from __future__ import annotations

import numpy as np

from ihomer.jit import kernel

LOGIT_CLIP = float(np.log(0.98 / 0.02))  # logits of experts stay within plus and minus this

_ONE = np.float32(1.0)
_HALF = np.float32(0.5)
_ZERO = np.float32(0.0)
_TWO = np.float32(2.0)

_EXP_LIMIT = np.float32(87.0)  # the result stays a normal number
_LOG2_E = np.float32(1.4426950408889634)
# Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum.
_ROUND = np.float32(12582912.0)
_ROUND_BITS_LESS_BIAS = np.int32(0x4B400000 - 127)
# ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_MANTISSA_BITS = np.int32(23)

# Minimax polynomials of Cephes' expf and logf (Moshier, Methods and Programs for Mathematical
# Functions, 1989).
_E0 = np.float32(1.9875691500e-4)
_E1 = np.float32(1.3981999507e-3)
_E2 = np.float32(8.3334519073e-3)
_E3 = np.float32(4.1665795894e-2)
_E4 = np.float32(1.6666665459e-1)
_E5 = np.float32(5.0000001201e-1)

_L0 = np.float32(7.0376836292e-2)
_L1 = np.float32(-1.1514610310e-1)
_L2 = np.float32(1.1676998740e-1)
_L3 = np.float32(-1.2420140846e-1)
_L4 = np.float32(1.4249322787e-1)
_L5 = np.float32(-1.6668057665e-1)
_L6 = np.float32(2.0000714765e-1)
_L7 = np.float32(-2.4999993993e-1)
_L8 = np.float32(3.3333331174e-1)

# (2 artanh(s) / s - 2) / s^2 in s^2 for s <= 1/3, interpolated in Chebyshev's points.
_A0 = np.float32(0.6666664)
_A1 = np.float32(0.40007672)
_A2 = np.float32(0.28233944)
_A3 = np.float32(0.26867611)

_SMALLEST = np.float32(1.1754944e-38)  # the smallest normal number
_LARGEST = np.float32(3.4028235e38)
_SQRT_HALF_BITS = np.int32(0x3F3504F3)


@kernel
def exp32(x: np.float32) -> np.float32:
    """The exponential of x; x is cut to [-87, 87], where the result is a normal number.

    Parameters
    ----------
    x
        Not NaN.

    Returns
    -------
    float32
        Relative error at most 1.2e-7.
    """
    x = min(_EXP_LIMIT, x)
    x = max(-_EXP_LIMIT, x)
    rounded = x * _LOG2_E + _ROUND
    n = rounded - _ROUND
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    r2 = r * r
    # Estrin's grouping: shorter chains of dependent operations than Horner's.
    p = (_E0 * r + _E1) * (r2 * r2) + ((_E2 * r + _E3) * r2 + (_E4 * r + _E5))
    exponent = np.int32(np.float32(rounded).view(np.int32) - _ROUND_BITS_LESS_BIAS)
    power = np.int32(exponent << _MANTISSA_BITS).view(np.float32)
    return np.float32((p * r2 + (r + _ONE)) * power)


@kernel
def log32(x: np.float32) -> np.float32:
    """Natural logarithm; x is cut to the positive normal numbers, so log32(0) = -87.3.

    Parameters
    ----------
    x
        Not NaN.

    Returns
    -------
    float32
        Absolute error at most 1.2e-7 or relative error at most 1.2e-7, whichever is larger.
    """
    x = min(_LARGEST, x)
    x = max(_SMALLEST, x)
    bits = np.float32(x).view(np.int32)
    # x = m * 2^n with m between sqrt(1/2) and sqrt(2).
    n = np.int32(np.int32(bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS)
    m = np.int32(bits - np.int32(n << _MANTISSA_BITS)).view(np.float32) - _ONE
    m2 = m * m
    p = ((_L0 * m + _L1) * m + _L2) * m + _L3
    p = (((p * m + _L4) * m + _L5) * m + _L6) * m
    p = ((p + _L7) * m + _L8) * (m * m2)
    power = np.float32(n)
    return np.float32((m + ((p + power * _LN2_LOW) - _HALF * m2)) + power * _LN2_HIGH)


@kernel
def sigmoid32(x: np.float32) -> np.float32:
    """1 / (1 + e^-x), the probability of a logit.

    Parameters
    ----------
    x
        Not NaN.

    Returns
    -------
    float32
        Relative error at most 2.5e-7; never 0, and 1 from about x = 17 on.
    """
    return np.float32(_ONE / (_ONE + exp32(-x)))


@kernel
def softplus32(x: np.float32) -> np.float32:
    """ln(1 + e^x): the log-loss of a label that is off, given its logit (if on, of -logit).

    Parameters
    ----------
    x
        Not NaN.

    Returns
    -------
    float32
        Relative error at most 5e-7.
    """
    e = exp32(-abs(x))
    # ln(1 + e) = 2 artanh(s), s = e / (2 + e) <= 1/3: a short series, right for small e too.
    s = e / (_TWO + e)
    u = s * s
    p = ((_A3 * u + _A2) * u + _A1) * u + _A0
    return np.float32(max(_ZERO, x) + (s * (p * u) + (s + s)))
