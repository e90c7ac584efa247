/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of whole nets share: a small net, a batch of noise with tags, tensors by name.
 */
#ifndef WSL_TESTS_UNIT_NET_WORLD_H
#define WSL_TESTS_UNIT_NET_WORLD_H

#include "kernels/model/net.h"

#define BATCH     4
#define IMAGE     32
#define IMAGE_MAX 128 /* a batch has pixels for images of this size */
#define CLASSES   7

/* Three stages; 2 groups of 3 channels. */
struct wsl_net_config net_tiny(void);
/* These fail the test when they cannot. */
struct wsl_net *net_open(const struct wsl_net_config *config, const char *backend, int batch,
                         int threads);
struct wsl_net *net_open_setup(const struct wsl_net_setup *setup);

struct net_batch {
    uint8_t pixels[BATCH * IMAGE_MAX * IMAGE_MAX * 3];
    uint32_t begin[BATCH + 1], tags[2 * BATCH];
    struct wsl_targets targets;
};
/* Tags are below CLASSES. */
void net_make_batch(struct net_batch *b, uint32_t seed);

/* Returns the loss. */
double net_step(struct wsl_net *net, const struct net_batch *b, int count, float scale);
/* All values of a tensor, to free(). */
float *net_get(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot);
size_t net_tensor_named(struct wsl_net *net, const char *name);
/* Sets one value. */
void net_put(struct wsl_net *net, const char *name, size_t at, float value);
/* Gives zero gammas (block ends) other values, so that every path carries gradients. */
void net_shake(struct wsl_net *net);

#endif
