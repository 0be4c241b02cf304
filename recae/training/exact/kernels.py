"""The compiled inner loop of per-user SGD: one exact step a user, at a cost without the number of items in it.

Notation follows Vincent, de Brébisson and Bouthillier (2015), "Efficient exact gradient update for training deep
networks with very large sparse targets", arXiv:1412.7091. The decoder is W = V U; Q = WᵀW. A step changes U, U⁻¹ and
Q by matrices of rank one or two. The latest of these are held as rows of short histories and applied together, so that
a step reads the three D×D matrices and does not write them:

    U   = U₀   − Σ η_s u_s h_sᵀ
    U⁻¹ = U⁻¹₀ + Σ η_s h_s y_sᵀ
    Q   = Q₀   − Σ η_s (h_s a_sᵀ + a_s h_sᵀ)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recae.compiled import FAST, Floats, Ints, fetch_row
from recae.loops import loop

ROWS = 16
"""Rows of U and Q multiplied between two requests to memory."""


@loop(fastmath=FAST)
def dot(x: Floats, y: Floats) -> Any:
    """Return x·y."""
    total = x[0] * y[0]
    for i in range(1, x.shape[0]):
        total += x[i] * y[i]
    return total


@loop(fastmath=FAST)
def add_scaled(y: Floats, a: Any, x: Floats) -> None:
    """Set y ← y + a x."""
    for i in range(y.shape[0]):
        y[i] += a * x[i]


@loop(fastmath=FAST)
def rows_times(M: Floats, x: Floats, out: Floats) -> None:
    """Set out ← M x, four rows at a time, so that x is read from memory a quarter as often."""
    n, D = M.shape
    whole = n - n % 4
    zero = x[0] - x[0]
    for i in range(0, whole, 4):
        a, b, c, d = zero, zero, zero, zero
        for k in range(D):
            a += M[i, k] * x[k]
            b += M[i + 1, k] * x[k]
            c += M[i + 2, k] * x[k]
            d += M[i + 3, k] * x[k]
        out[i], out[i + 1], out[i + 2], out[i + 3] = a, b, c, d
    for i in range(whole, n):
        out[i] = dot(M[i], x)


@loop(fastmath=FAST)
def add_times_rows(x: Floats, M: Floats, n: int, out: Floats) -> None:
    """Set out ← out + Σ_{i<n} x_i M_i, four rows at a time, so that `out` is written a quarter as often."""
    D = out.shape[0]
    whole = n - n % 4
    for i in range(0, whole, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        for k in range(D):
            out[k] += a * M[i, k] + b * M[i + 1, k] + c * M[i + 2, k] + d * M[i + 3, k]
    for i in range(whole, n):
        add_scaled(out, x[i], M[i])


@loop(fastmath=FAST)
def add_outer(A: Floats, a: Any, L: Floats, R: Floats, n: int) -> None:
    """Set A ← A + a Σ_{s<n} L_s R_sᵀ, eight terms at a time: for so thin a product, twice as fast as BLAS."""
    D = A.shape[0]
    whole = n - n % 8
    for s in range(0, whole, 8):
        r0, r1, r2, r3 = R[s], R[s + 1], R[s + 2], R[s + 3]
        r4, r5, r6, r7 = R[s + 4], R[s + 5], R[s + 6], R[s + 7]
        for i in range(D):
            a0, a1, a2, a3 = a * L[s, i], a * L[s + 1, i], a * L[s + 2, i], a * L[s + 3, i]
            a4, a5, a6, a7 = a * L[s + 4, i], a * L[s + 5, i], a * L[s + 6, i], a * L[s + 7, i]
            row = A[i]
            for k in range(D):
                row[k] += (
                    a0 * r0[k] + a1 * r1[k] + a2 * r2[k] + a3 * r3[k]
                    + a4 * r4[k] + a5 * r5[k] + a6 * r6[k] + a7 * r7[k]
                )  # fmt: skip
    for s in range(whole, n):
        for i in range(D):
            add_scaled(A[i], a * L[s, i], R[s])


@loop(fastmath=FAST)
def catch_up(
    row: Floats, first: int, last: int, X: Floats, factors: Floats, overlaps: Floats, missed: Floats
) -> None:
    """Set row ← row Π (I + c_s x_s x_sᵀ) for s in first … last − 1, with rows x_s of X and `overlaps` X Xᵀ.

    The products of the row with all x_s come first, at the speed of a matrix; what each factor of the product changes
    for those behind it follows from the overlaps. `missed` is for use in between.
    """
    n = last - first
    products = missed[:n]
    rows_times(X[first:last], row, products)
    for s in range(n):
        total = products[s]
        for k in range(s):
            total += products[k] * overlaps[first + s, first + k]
        products[s] = total * factors[first + s]
    add_times_rows(products, X[first:last], n, row)


@loop(fastmath=FAST)
def apply_history(
    U: Floats,
    U_inv: Floats,
    Q: Floats,
    n: int,
    scaled: Floats,
    hist_u: Floats,
    hist_y: Floats,
    hist_a: Floats,
) -> None:
    """Apply the `n` rank-one updates of the histories to U, U⁻¹ and Q; `scaled` holds η_s h_s."""
    one = U.dtype.type(1)
    add_outer(U, -one, hist_u, scaled, n)
    add_outer(U_inv, one, scaled, hist_y, n)
    add_outer(Q, -one, scaled, hist_a, n)
    add_outer(Q, -one, hist_a, scaled, n)


@loop(fastmath=FAST)
def train_users(
    users: Ints,
    indptr: Ints,
    indices: Ints,
    visible: NDArray[np.bool_],
    confidence: Floats | None,
    V: Floats,
    applied: Ints,
    directions: Floats,
    factors: Floats,
    overlaps: Floats,
    pending: int,
    U: Floats,
    U_inv: Floats,
    Q: Floats,
    E: Floats,
    b: Floats,
    acc: Floats,
    acc_b: Floats,
    K: int,
    lr: Any,
    encoder_lr: Any,
    alpha: Any,
    keep: Any,
    power: Any,
    epsilon: Any,
) -> float:
    """Take one step of SGD for each of `users`, in order; return the sum of their losses.

    Args:
        users: (n,) int64 rows of the pattern (`indptr`, `indices`).
        indptr: (U + 1,) where each row of the pattern begins.
        indices: (nnz,) its items.
        visible: bool, one for each purchase of `users` in order: what input dropout left.
        confidence: (nnz,) factors on α, one for each purchase of the pattern; None: 1, a compilation of its own.
        V: (I, D) decoder factor, updated in place; W = V U.
        applied: (I,) how many of the `pending` rescalings I + factor · direction directionᵀ a row of V has seen.
        directions: of the rescalings, (·, D).
        factors: of the rescalings.
        overlaps: directions directionsᵀ.
        pending: number of rescalings.
        U: (D, D) decoder factor, updated in place, like the next two.
        U_inv: its inverse.
        Q: WᵀW.
        E: (I, d) encoder weights.
        b: (d,) encoder bias.
        acc: (I,) accumulated squared gradient norms of `E`.
        acc_b: (1,) those of `b`.
        K: length of the histories.
        lr: learning rate of the decoder, the step normalised by ‖h‖².
        encoder_lr: learning rate of the encoder.
        alpha: α, the weight of a purchase.
        keep: 1 − dropout.
        power: of the history's length by which its sum is divided.
        epsilon: of AdaGrad.
    """
    D = U.shape[0]
    d = E.shape[1]
    dtype = V.dtype
    one = dtype.type(1)
    two = dtype.type(2)
    # No loop both adds up and writes an array: how the compiler orders such a sum depends on how near to each other the
    # arrays happen to lie in memory, and the same seed would not give the same bits.
    H = np.empty((K, D), dtype)  # rows η_s h_s
    hist_u = np.empty((K, D), dtype)
    hist_y = np.empty((K, D), dtype)
    hist_a = np.empty((K, D), dtype)
    w = np.empty(K, dtype)
    x = np.empty(K, dtype)
    h = np.zeros(D, dtype)
    z = np.empty(d, dtype)
    u = np.empty(D, dtype)
    v = np.empty(D, dtype)
    q = np.empty(D, dtype)
    t = np.empty(D, dtype)
    y = np.empty(D, dtype)
    g = np.empty(d, dtype)
    longest = 0
    for i in range(users.shape[0]):
        longest = max(longest, indptr[users[i] + 1] - indptr[users[i]])
    residual = np.empty(max(longest, 1), dtype)
    missed = np.empty(len(factors), dtype)
    # a plain 0 would be a type of its own, for which all that is called is compiled once more
    n: Any = np.int64(0)
    position = 0
    total = 0.0
    for step in range(users.shape[0]):
        first, last = indptr[users[step]], indptr[users[step] + 1]
        m = last - first

        # encode: z = b + Σ E_j / m^power, h = (2σ(z) − 1, 1); what dropout left stands for all m
        n_visible = 0
        for p in range(m):
            n_visible += visible[position + p]
        scale = one / (keep * (dtype.type(max(n_visible, 1)) / keep) ** power)
        for k in range(d):  # z[:] = b would have the message for unequal shapes compiled, too
            z[k] = b[k]
        for p in range(m):
            if visible[position + p]:
                add_scaled(z, scale, E[indices[first + p]])
        for k in range(d):
            h[k] = two / (one + np.exp(-z[k])) - one
        h[d] = one
        norm2 = dot(h, h)
        eta = lr / norm2

        # U h, Q h and hᵀU⁻¹, each the last applied matrix plus what the histories hold
        # the rows of the next user come from memory meanwhile, in small portions: the processor can wait for no more
        start, stop = last, last
        if step + 1 < users.shape[0]:
            start, stop = indptr[users[step + 1]], indptr[users[step + 1] + 1]
        seen = visible[position + m :]
        each = (stop - start) * ROWS // (2 * D) + 1
        fetched = start
        for i in range(0, D, ROWS):
            for M, product in ((U, u), (Q, q)):
                rows_times(M[i : i + ROWS], h, product[i : i + ROWS])
                until = min(fetched + each, stop)
                for p in range(fetched, until):
                    fetch_row(V, indices[p])
                    if seen[p - start]:
                        fetch_row(E, indices[p])
                fetched = until
        y[:] = 0
        add_times_rows(h, U_inv, D, y)
        for s in range(n):
            w[s] = dot(H[s], h)
            x[s] = -dot(hist_a[s], h)
        add_times_rows(w, hist_y, n, y)
        for s in range(n):
            w[s] = -w[s]
        add_times_rows(w, hist_u, n, u)
        add_times_rows(w, hist_a, n, q)
        add_times_rows(x, H, n, q)

        # decode the purchases alone; r is the sparse part of the residual
        v[:] = 0
        norm_r = dtype.type(0)
        hQh = dot(h, q)
        loss = hQh
        for p in range(m):
            j = indices[first + p]
            row = V[j]
            if applied[j] < pending:
                catch_up(row, applied[j], pending, directions, factors, overlaps, missed)
                applied[j] = pending
            o = dot(row, u)
            if confidence is None:  # noqa: SIM108  # a statement is left out of the compilation without confidence
                excess = alpha - one
            else:
                excess = alpha * confidence[first + p] - one
            r = excess * (o - one) - one
            residual[p] = r
            norm_r += r * r
            loss += one - two * o + excess * (o - one) * (o - one)
            add_scaled(v, r, row)
        total += loss
        t[:] = 0
        add_times_rows(v, U, D, t)
        for s in range(n):
            x[s] = -dot(hist_u[s], v)
        add_times_rows(x, H, n, t)

        # the gradient at the pre-activation, with the code before this step's update
        ht = dot(h, t)
        for k in range(d):
            g[k] = (q[k] + t[k]) * (one - h[k] * h[k]) / two
        g2 = dot(g, g)

        # decoder
        shrink = one / (one - lr)
        for k in range(D):
            y[k] *= shrink
        for p in range(m):
            add_scaled(V[indices[first + p]], -eta * residual[p], y)
        c = eta / two * (hQh + two * ht + norm_r)
        for k in range(D):
            H[n, k] = eta * h[k]
            hist_u[n, k] = u[k]
            hist_y[n, k] = y[k]
            hist_a[n, k] = q[k] + t[k] - c * h[k]
        n += 1
        if n == K:
            apply_history(U, U_inv, Q, n, H, hist_u, hist_y, hist_a)
            n = 0

        # encoder: only the rows of visible purchases move, each by its own accumulated gradient (row-wise AdaGrad)
        g2 = g2 / dtype.type(d)
        for p in range(m):
            if visible[position + p]:
                j = indices[first + p]
                acc[j] += scale * scale * g2
                add_scaled(E[j], -encoder_lr * scale / (np.sqrt(acc[j]) + epsilon), g)
        acc_b[0] += g2
        add_scaled(b, -encoder_lr / (np.sqrt(acc_b[0]) + epsilon), g)
        position += m
    apply_history(U, U_inv, Q, n, H, hist_u, hist_y, hist_a)
    return total
