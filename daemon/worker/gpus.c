/* SPDX-License-Identifier: Apache-2.0
 *
 * Choosing, naming and sharing out the GPUs of a machine.
 */
#include "daemon/worker/gpus.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The next element of a comma-separated list, without blanks around it; false at the end. */
static bool next_element(const char **list, char ret[WSL_GPU_ID_SIZE])
{
    const char *begin = *list;
    size_t length;

    if (!begin)
        return false;
    length = strcspn(begin, ",");
    *list = begin[length] ? begin + length + 1 : NULL;
    while (length > 0 && isspace((unsigned char)*begin)) {
        begin++;
        length--;
    }
    while (length > 0 && isspace((unsigned char)begin[length - 1]))
        length--;
    snprintf(ret, WSL_GPU_ID_SIZE, "%.*s", (int)length, begin);
    return true;
}

static bool is_number(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0' && strlen(text) < 6;
}

static int add(struct wsl_gpus *gpus, const char *id, const char *source, struct wsl_err *err)
{
    for (uint32_t i = 0; i < gpus->count; i++)
        if (strcmp(gpus->ids[i], id) == 0)
            return wsl_fail(err, WSL_EINVAL, "%s names the GPU %s twice", source, id);
    if (gpus->count == WSL_FACTS_GPUS_MAX)
        return wsl_fail(err, WSL_EINVAL, "%s names more than %d GPUs", source, WSL_FACTS_GPUS_MAX);
    snprintf(gpus->ids[gpus->count++], WSL_GPU_ID_SIZE, "%s", id);
    return 0;
}

/* ---- what the worker sees ---- */

static int all_of_the_machine(struct wsl_gpus *ret, const struct wsl_facts *facts,
                              struct wsl_err *err)
{
    int r = 0;

    for (uint32_t i = 0; i < facts->gpu_count && r == 0; i++) {
        char number[16];

        snprintf(number, sizeof number, "%u", i);
        r = add(ret, facts->gpus[i].uuid[0] ? facts->gpus[i].uuid : number, "the driver", err);
    }
    return r;
}

/* As CUDA reads it: what comes after an element that names nothing does not count. */
static bool names_nothing(const char *element)
{
    return *element == '\0' || *element == '-' || strcmp(element, "NoDevFiles") == 0;
}

/* An index beyond the machine's GPUs would hide all that come after it; a person is told instead.
 */
static int check_visible(const char *element, const struct wsl_facts *facts, struct wsl_err *err)
{
    if (facts->gpu_count > 0 && is_number(element) &&
        strtoul(element, NULL, 10) >= facts->gpu_count)
        return wsl_fail(err, WSL_EINVAL,
                        "CUDA_VISIBLE_DEVICES names GPU %s; this machine has %u, numbered from 0",
                        element, facts->gpu_count);
    return 0;
}

static int parse_visible(struct wsl_gpus *ret, const struct wsl_facts *facts, const char *visible,
                         struct wsl_err *err)
{
    char element[WSL_GPU_ID_SIZE];
    int r = 0;

    while (r == 0 && next_element(&visible, element) && !names_nothing(element)) {
        r = check_visible(element, facts, err);
        if (r == 0)
            r = add(ret, element, "CUDA_VISIBLE_DEVICES", err);
    }
    return r;
}

/* ---- what is wanted of that ---- */

/* By number, by name, or by the beginning of one name only, as CUDA takes UUIDs. */
static int find(const struct wsl_gpus *seen, const char *element, uint32_t *ret,
                struct wsl_err *err)
{
    uint32_t found = 0, count = 0;

    if (is_number(element)) {
        found = (uint32_t)strtoul(element, NULL, 10);
        count = found < seen->count;
    } else if (*element) {
        for (uint32_t i = 0; i < seen->count; i++)
            if (strncmp(seen->ids[i], element, strlen(element)) == 0) {
                found = i;
                count++;
            }
    }
    if (count == 1) {
        *ret = found;
        return 0;
    }
    if (count > 1)
        return wsl_fail(err, WSL_EINVAL, "--gpus %s: %u GPUs begin like that", element, count);
    if (seen->count == 0)
        return wsl_fail(err, WSL_EINVAL, "--gpus %s: no GPU is visible here", element);
    return wsl_fail(
        err, WSL_EINVAL,
        "--gpus %s: there is no such GPU; %u are visible, numbered from 0 (nvidia-smi -L "
        "lists them)",
        element, seen->count);
}

static int take_wanted(struct wsl_gpus *ret, const struct wsl_gpus *seen, const char *wanted,
                       struct wsl_err *err)
{
    char element[WSL_GPU_ID_SIZE];
    uint32_t at = 0;
    int r = 0;

    while (r == 0 && next_element(&wanted, element)) {
        r = find(seen, element, &at, err);
        if (r == 0)
            r = add(ret, seen->ids[at], "--gpus", err);
    }
    return r;
}

int wsl_gpus_choose(struct wsl_gpus *ret, const struct wsl_facts *facts, const char *visible,
                    const char *wanted, struct wsl_err *err)
{
    struct wsl_gpus seen = {.assigned = facts->gpu_count > 0 || visible};
    int r =
        visible ? parse_visible(&seen, facts, visible, err) : all_of_the_machine(&seen, facts, err);

    if (r < 0)
        return r;
    if (strcmp(wanted, "all") == 0) {
        *ret = seen;
        return 0;
    }
    *ret = (struct wsl_gpus){.assigned = true};
    return strcmp(wanted, "none") == 0 ? 0 : take_wanted(ret, &seen, wanted, err);
}

/* ---- using them ---- */

void wsl_gpus_limit_facts(const struct wsl_gpus *gpus, struct wsl_facts *facts)
{
    const struct wsl_facts machine = *facts;

    if (!gpus->assigned)
        return;
    facts->gpu_count = gpus->count;
    for (uint32_t i = 0; i < gpus->count; i++) {
        const char *id = gpus->ids[i];
        size_t at = is_number(id) ? strtoul(id, NULL, 10) : machine.gpu_count;

        for (size_t k = 0; k < machine.gpu_count && at >= machine.gpu_count; k++)
            if (machine.gpus[k].uuid[0] && strncmp(machine.gpus[k].uuid, id, strlen(id)) == 0)
                at = k;
        if (at < machine.gpu_count)
            facts->gpus[i] = machine.gpus[at];
        else
            facts->gpus[i] = (struct wsl_facts_gpu){.name = "GPU"};
    }
}

static uint32_t trainers_on(const struct wsl_table *table, const char *id)
{
    uint32_t count = 0;

    for (size_t i = 0; i < table->count; i++)
        count += !table->trainers[i]->ended && strcmp(table->trainers[i]->gpu, id) == 0;
    return count;
}

const char *wsl_gpus_pick(const struct wsl_gpus *gpus, const struct wsl_table *table)
{
    const char *best = "";
    uint32_t fewest = UINT32_MAX;

    for (uint32_t i = 0; i < gpus->count; i++) {
        uint32_t trainers = trainers_on(table, gpus->ids[i]);

        if (trainers < fewest) {
            fewest = trainers;
            best = gpus->ids[i];
        }
    }
    return best;
}

/* An address in the abstract namespace: gone with the process, however that ends, and no file that
 * another user could not remove. The descriptor stays open on purpose. */
static int lock_one(const char *id, struct wsl_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "wsl-gpu-%s", id);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);

    assert(n < (int)sizeof address.sun_path - 1);
    if (fd < 0)
        return wsl_fail_errno(err, "cannot make a socket to lock the GPU %s", id);
    if (bind(fd, (const struct sockaddr *)&address, size) == 0)
        return 0;
    if (errno != EADDRINUSE) {
        wsl_fail_errno(err, "cannot lock the GPU %s", id);
    } else {
        wsl_fail(err, WSL_EEXIST,
                 "another wsl-worker of this machine serves the GPU %s; give each its own with "
                 "--gpus, or both --share-gpus",
                 id);
    }
    close(fd);
    return err ? err->code : WSL_EEXIST;
}

int wsl_gpus_lock(const struct wsl_gpus *gpus, struct wsl_err *err)
{
    int r = 0;

    for (uint32_t i = 0; i < gpus->count && r == 0; i++)
        r = lock_one(gpus->ids[i], err);
    return r;
}
