// A cluster of thread blocks as threads of C++, for recae/training/exact/per_user.cu with -DEMULATED.
#pragma once
#include <barrier>
#include <cmath>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>
typedef int64_t int64;
typedef int8_t int8;
static int BLOCKS, THREADS;
static thread_local int THREAD, BLOCK;
static std::unique_ptr<std::barrier<>> whole;
static std::vector<std::unique_ptr<std::barrier<>>> of_block;
static std::vector<std::vector<float>> memory;
#define KERNEL static void
#define DEVICE static inline
#define SHARED(name) float* name = memory[BLOCK].data()
#define BLOCK_BARRIER() of_block[BLOCK]->arrive_and_wait()
#define CLUSTER_BARRIER() whole->arrive_and_wait()
static inline void put(float* place, int block, float value) {
  memory[block].at(place - memory[BLOCK].data()) = value;
}
template <class... Parameters, class... Arguments>
static void launch(size_t floats, void (*kernel)(Parameters...), Arguments... arguments) {
  whole = std::make_unique<std::barrier<>>(BLOCKS * THREADS);
  of_block.clear();
  memory.assign(BLOCKS, std::vector<float>(floats, NAN));  // what is read before it is written shows
  for (int c = 0; c < BLOCKS; c++) of_block.push_back(std::make_unique<std::barrier<>>(THREADS));
  std::vector<std::thread> threads;
  for (int c = 0; c < BLOCKS; c++)
    for (int t = 0; t < THREADS; t++)
      threads.emplace_back([=] { BLOCK = c; THREAD = t; kernel(arguments...); });
  for (auto& thread : threads) thread.join();
}
