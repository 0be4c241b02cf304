// Per-user SGD of the sigmoid autoencoder, one exact step a customer after the other, in one cluster of thread blocks.
//
// Block c owns the columns [c w, (c + 1) w) of E, b, V and U^-1 and these rows of U and Q. The three small matrices stay
// in the blocks' shared memory for the whole launch; a step is four barriers of the cluster. The same text is compiled
// by NVRTC for a GPU (BLOCKS and THREADS as macros) and by a C++ compiler with -DEMULATED as threads, to be tested.
// THREADS is a power of two and at least BLOCKS. Names and formulas are those of kernels.py, float32 throughout.
#ifdef EMULATED
#include "emulated_cluster.h"
#else
typedef long long int64;
typedef signed char int8;
static_assert((THREADS & (THREADS - 1)) == 0 && THREADS >= BLOCKS, "THREADS: a power of two, at least BLOCKS");
#define KERNEL extern "C" __global__ void __cluster_dims__(BLOCKS, 1, 1) __launch_bounds__(THREADS, 1)
#define DEVICE __device__ __forceinline__
#define SHARED(name) extern __shared__ float name[]
#define THREAD ((int)threadIdx.x)
#define BLOCK_BARRIER() __syncthreads()
#define BLOCK block_rank()
#define CLUSTER_BARRIER() cluster_barrier()
DEVICE int block_rank() {
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return (int)rank;
}
DEVICE void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
DEVICE void put(float* place, int block, float value) {  // into the same place of another block's shared memory
  unsigned own = (unsigned)__cvta_generic_to_shared(place), theirs;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(theirs) : "r"(own), "r"(block));
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(theirs), "f"(value) : "memory");
}
#endif

// The sum over a block's threads: by a tree, so that every thread and every run has the same bits.
DEVICE float block_sum(float x, float* room) {
  room[THREAD] = x;
  BLOCK_BARRIER();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (THREAD < half) room[THREAD] += room[THREAD + half];
    BLOCK_BARRIER();
  }
  const float sum = room[0];
  BLOCK_BARRIER();
  return sum;
}

DEVICE float sum_of_blocks(const float* parts) {
  float sum = 0;
  for (int c = 0; c < BLOCKS; c++) sum += parts[c];
  return sum;
}

// acc (BLOCKS, I) and acc_b (BLOCKS,) hold a copy a block, all the same. stale (n_stale,): the items bought by `users`
// whose rows lack rescalings. Shared memory: 3 w D + 3 D + BLOCKS (longest + w + 4) + 7 w + longest + THREADS floats.
KERNEL train_users(const int64* users, int n_users, const int64* indptr, const int* indices, const int8* visible,
                   const int64* positions, const float* confidence, const int* stale, int n_stale, int* applied,
                   int pending, const float* directions, const float* factors, float* V, float* U, float* U_inv,
                   float* Q, float* E, float* b, float* acc, float* acc_b, double* loss, int I, int d, int longest,
                   float lr, float encoder_lr, float alpha, float keep, float power, float epsilon) {
  SHARED(shared);
  const int D = d + 1, w = (D + BLOCKS - 1) / BLOCKS, c = BLOCK, k0 = c * w;
  const int n = (k0 + w < D ? k0 + w : D) > k0 ? (k0 + w < D ? k0 + w : D) - k0 : 0;
  float *own_U = shared, *own_Q = own_U + w * D, *own_inv = own_Q + w * D;
  float *h = own_inv + w * D, *last_h = h + D, *last_a = last_h + D;
  float *outputs = last_a + D, *ts = outputs + BLOCKS * longest, *sums = ts + BLOCKS * w;
  float *u = sums + 4 * BLOCKS, *q = u + w, *y = q + w, *v = y + w, *g = v + w, *last_u = g + w, *last_y = last_u + w;
  float *residual = last_y + w, *room = residual + longest;

  // V <- V (I + factor x x^T) for each rescaling that a row lacks; no other is bought in this launch, so once will do
  for (int i = c; i < n_stale; i += BLOCKS) {
    float* row = V + (int64)stale[i] * D;
    for (int s = applied[stale[i]]; s < pending; s++) {
      float part = 0;
      for (int k = THREAD; k < D; k += THREADS) part += row[k] * directions[(int64)s * D + k];
      const float missed = factors[s] * block_sum(part, room);
      for (int k = THREAD; k < D; k += THREADS) row[k] += missed * directions[(int64)s * D + k];
    }
    BLOCK_BARRIER();
    if (THREAD == 0) applied[stale[i]] = pending;
  }
  for (int x = THREAD; x < n * D; x += THREADS) {
    own_U[x] = U[(int64)k0 * D + x];
    own_Q[x] = Q[(int64)k0 * D + x];
    own_inv[x] = U_inv[(int64)(x / n) * D + k0 + x % n];
  }
  for (int k = THREAD; k < D; k += THREADS) last_h[k] = last_a[k] = 0;
  for (int k = THREAD; k < n; k += THREADS) last_u[k] = last_y[k] = 0;
  float last_eta = 0;
  double total = 0;
  CLUSTER_BARRIER();

  for (int step = 0; step < n_users; step++) {
    const int64 first = indptr[users[step]], position = positions[step];
    const int m = (int)(indptr[users[step] + 1] - first);
    const int* items = indices + first;
    const int8* seen = visible + position;

    // encode: the own columns of h, to every block
    float part = 0;
    for (int p = THREAD; p < m; p += THREADS) part += seen[p];
    const float n_visible = block_sum(part, room);
    const float scale = 1.0f / (keep * powf((n_visible > 1 ? n_visible : 1) / keep, power));
    part = 0;
    for (int k = THREAD; k < n; k += THREADS) {
      float code = 1;
      if (k0 + k < d) {
        float z = b[k0 + k];
        for (int p = 0; p < m; p++)
          if (seen[p]) z += scale * E[(int64)items[p] * d + k0 + k];
        code = 2.0f / (1.0f + expf(-z)) - 1.0f;
      }
      for (int o = 0; o < BLOCKS; o++) put(h + k0 + k, o, code);
      part += code * code;
    }
    float sum = block_sum(part, room);
    if (THREAD < BLOCKS) put(sums + c, THREAD, sum);
    CLUSTER_BARRIER();
    const float eta = lr / sum_of_blocks(sums);

    // the last step's rank-one updates and U h, Q h, h^T U^-1 in one pass over the small matrices
    for (int i = THREAD; i < n; i += THREADS) {
      float Uh = 0, Qh = 0, hU = 0;
      for (int k = 0; k < D; k++) {
        const float x = own_U[i * D + k] -= last_eta * last_u[i] * last_h[k];
        Uh += x * h[k];
        const float z = own_Q[i * D + k] -= last_eta * (last_h[k0 + i] * last_a[k] + last_a[k0 + i] * last_h[k]);
        Qh += z * h[k];
        hU += h[k] * (own_inv[k * n + i] += last_eta * last_h[k] * last_y[i]);
      }
      u[i] = Uh;
      q[i] = Qh;
      y[i] = hU / (1.0f - lr);
    }
    BLOCK_BARRIER();
    part = 0;
    for (int i = THREAD; i < n; i += THREADS) part += h[k0 + i] * q[i];
    sum = block_sum(part, room);
    if (THREAD < BLOCKS) put(sums + BLOCKS + c, THREAD, sum);
    for (int p = THREAD; p < m; p += THREADS) {
      const float* row = V + (int64)items[p] * D + k0;
      float o = 0;
      for (int k = 0; k < n; k++) o += row[k] * u[k];
      for (int t = 0; t < BLOCKS; t++) put(outputs + c * longest + p, t, o);
    }
    CLUSTER_BARRIER();

    // the sparse part of the residual, v = V^T r and t = U^T v
    const float hQh = sum_of_blocks(sums + BLOCKS);
    float squares = 0, error = 0;
    for (int p = THREAD; p < m; p += THREADS) {
      float o = 0;
      for (int t = 0; t < BLOCKS; t++) o += outputs[t * longest + p];
      const float excess = (confidence ? alpha * confidence[first + p] : alpha) - 1;
      residual[p] = excess * (o - 1) - 1;
      squares += residual[p] * residual[p];
      error += 1 - 2 * o + excess * (o - 1) * (o - 1);
    }
    squares = block_sum(squares, room);
    total += (double)hQh + block_sum(error, room);
    for (int k = THREAD; k < n; k += THREADS) {
      float x = 0;
      for (int p = 0; p < m; p++) x += residual[p] * V[(int64)items[p] * D + k0 + k];
      v[k] = x;
    }
    BLOCK_BARRIER();
    part = 0;
    for (int i = THREAD; i < n; i += THREADS) part += u[i] * v[i];
    sum = block_sum(part, room);
    if (THREAD < BLOCKS) put(sums + 2 * BLOCKS + c, THREAD, sum);
    for (int k = THREAD; k < D; k += THREADS) {
      float x = 0;
      for (int i = 0; i < n; i++) x += v[i] * own_U[i * D + k];
      put(ts + c * w + k % w, k / w, x);
    }
    CLUSTER_BARRIER();

    // the gradient at the pre-activation and a, by which Q will change
    const float half = eta / 2 * (hQh + 2 * sum_of_blocks(sums + 2 * BLOCKS) + squares);
    part = 0;
    for (int k = THREAD; k < n; k += THREADS) {
      float t = 0;
      for (int o = 0; o < BLOCKS; o++) t += ts[o * w + k];
      const float code = h[k0 + k], slope = q[k] + t;
      g[k] = k0 + k < d ? slope * (1 - code * code) / 2 : 0;
      part += g[k] * g[k];
      for (int o = 0; o < BLOCKS; o++) put(last_a + k0 + k, o, slope - half * code);
    }
    sum = block_sum(part, room);
    if (THREAD < BLOCKS) put(sums + 3 * BLOCKS + c, THREAD, sum);
    for (int k = THREAD; k < D; k += THREADS) last_h[k] = h[k];  // before another block may write the next code
    CLUSTER_BARRIER();

    // own columns of the rows of E and V; those of E by row-wise AdaGrad
    const float g2 = sum_of_blocks(sums + 3 * BLOCKS) / d, norm_b = acc_b[c] + g2;
    BLOCK_BARRIER();
    if (THREAD == 0) acc_b[c] = norm_b;
    for (int p = 0; p < m; p++) {
      const int64 j = items[p];
      const float norm = seen[p] ? acc[(int64)c * I + j] + scale * scale * g2 : 1;
      const float rate = encoder_lr * scale / (sqrtf(norm) + epsilon);
      for (int k = THREAD; k < n; k += THREADS) {
        V[j * D + k0 + k] -= eta * residual[p] * y[k];
        if (seen[p] && k0 + k < d) E[j * d + k0 + k] -= rate * g[k];
      }
    }
    BLOCK_BARRIER();
    for (int p = THREAD; p < m; p += THREADS)
      if (seen[p]) acc[(int64)c * I + items[p]] += scale * scale * g2;
    for (int k = THREAD; k < n; k += THREADS) {
      if (k0 + k < d) b[k0 + k] -= encoder_lr / (sqrtf(norm_b) + epsilon) * g[k];
      last_u[k] = u[k];
      last_y[k] = y[k];
    }
    last_eta = eta;
    BLOCK_BARRIER();
  }

  for (int x = THREAD; x < n * D; x += THREADS) {
    const int i = x / D, k = x % D;
    U[(int64)k0 * D + x] = own_U[x] - last_eta * last_u[i] * last_h[k];
    Q[(int64)k0 * D + x] = own_Q[x] - last_eta * (last_h[k0 + i] * last_a[k] + last_a[k0 + i] * last_h[k]);
    U_inv[(int64)(x / n) * D + k0 + x % n] = own_inv[x] + last_eta * last_h[x / n] * last_y[x % n];
  }
  if (c == 0 && THREAD == 0) *loss = total;
}
