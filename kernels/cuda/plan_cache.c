/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of plans: where it lies, reading what is whole of it, replacing it.
 */
#include "kernels/cuda/plan_cache.h"

#include "base/crc32c.h"
#include "base/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CRC_DIGITS 8

/* Letters and digits of a GPU's name, in lower case. */
static void name_of(const char *gpu, char *name, size_t size)
{
    size_t n = 0;

    for (; gpu[n] && n < size - 1; n++)
        name[n] = isalnum((unsigned char)gpu[n]) ? (char)tolower((unsigned char)gpu[n]) : '-';
    name[n] = '\0';
}

void wsl_cuda_cache_path(const char *directory, const char *gpu, size_t cudnn_version,
                         char ret_path[WSL_CUDA_CACHE_PATH])
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME"), *parts[2] = {"", ""};
    char name[96];
    int length;

    *ret_path = '\0';
    name_of(gpu, name, sizeof name);
    if (directory && strcmp(directory, "none") == 0)
        return;
    if (directory) {
        parts[0] = directory;
    } else if (cache && *cache) {
        parts[0] = cache;
        parts[1] = "/wsl";
    } else if (home && *home) {
        parts[0] = home;
        parts[1] = "/.cache/wsl";
    } else {
        return;
    }
    length = snprintf(ret_path, WSL_CUDA_CACHE_PATH, "%s%s/cuda-%s-cudnn%zu.plans", parts[0],
                      parts[1], name, cudnn_version);
    if (length < 0 || length >= WSL_CUDA_CACHE_PATH)
        *ret_path = '\0';
}

/* ---- the table ---- */

const char *wsl_cuda_cache_find(const struct wsl_cuda_cache *cache, const char *problem)
{
    for (size_t i = 0; i < cache->count; i++)
        if (strcmp(cache->plans[i].problem, problem) == 0)
            return cache->plans[i].json;
    return NULL;
}

static int put(struct wsl_cuda_cache *cache, const char *problem, const char *json)
{
    char *copy = strdup(json), *key;

    if (!copy)
        return WSL_ENOMEM;
    for (size_t i = 0; i < cache->count; i++)
        if (strcmp(cache->plans[i].problem, problem) == 0) {
            free(cache->plans[i].json);
            cache->plans[i].json = copy;
            return 0;
        }
    key = cache->count < WSL_CUDA_CACHE_PLANS ? strdup(problem) : NULL;
    if (!key) {
        free(copy);
        return cache->count < WSL_CUDA_CACHE_PLANS ? WSL_ENOMEM : 0;
    }
    cache->plans[cache->count].problem = key;
    cache->plans[cache->count].json = copy;
    cache->count++;
    return 0;
}

int wsl_cuda_cache_put(struct wsl_cuda_cache *cache, const char *problem, const char *json,
                       struct wsl_err *err)
{
    if (put(cache, problem, json))
        return wsl_fail(err, WSL_ENOMEM, "no memory for a plan of the convolution \"%s\"", problem);
    cache->changed = true;
    return 0;
}

/* ---- the file ---- */

/* A line without its newline, changed in place. Damaged ones are passed over. */
static int read_line(struct wsl_cuda_cache *cache, char *line)
{
    char *problem = strchr(line, '\t'), *json, *end;
    unsigned long crc;

    if (!problem || problem != line + CRC_DIGITS)
        return 0;
    problem++;
    crc = strtoul(line, &end, 16);
    if (end != problem - 1 || wsl_crc32c(0, problem, strlen(problem)) != (uint32_t)crc)
        return 0;
    json = strchr(problem, '\t');
    if (!json)
        return 0;
    *json++ = '\0';
    return put(cache, problem, json);
}

static int read_text(struct wsl_cuda_cache *cache, char *text)
{
    char *line = text, *next = strchr(text, '\n');
    int rc = 0;

    if (!next)
        return 0;
    *next = '\0';
    if (strcmp(line, cache->title) != 0)
        return 0;
    /* A last line without its newline was cut off. */
    for (line = next + 1; rc == 0 && (next = strchr(line, '\n')); line = next + 1) {
        *next = '\0';
        rc = read_line(cache, line);
    }
    return rc;
}

int wsl_cuda_cache_init(struct wsl_cuda_cache *cache, const char *path, const char *gpu,
                        size_t cudnn_version, struct wsl_err *err)
{
    struct wsl_buf text = {0};
    int rc = 0;

    *cache = (struct wsl_cuda_cache){0};
    cache->plans = calloc(WSL_CUDA_CACHE_PLANS, sizeof *cache->plans);
    if (!cache->plans)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a cache of plans");
    snprintf(cache->path, sizeof cache->path, "%s", path);
    snprintf(cache->title, sizeof cache->title, "wsl cuda plans 1\t%.100s\t%zu", gpu,
             cudnn_version);
    if (*cache->path && wsl_file_read(cache->path, WSL_CUDA_CACHE_BYTES, &text, NULL) == 0 &&
        text.data)
        rc = read_text(cache, (char *)text.data);
    wsl_buf_free(&text);
    if (rc) {
        wsl_cuda_cache_fini(cache);
        return wsl_fail(err, rc, "no memory for the plans of %s", path);
    }
    return 0;
}

void wsl_cuda_cache_fini(struct wsl_cuda_cache *cache)
{
    for (size_t i = 0; i < cache->count; i++) {
        free(cache->plans[i].problem);
        free(cache->plans[i].json);
    }
    free(cache->plans);
    *cache = (struct wsl_cuda_cache){0};
}

static int write_text(const struct wsl_cuda_cache *cache, struct wsl_buf *text)
{
    int rc = wsl_buf_add_format(text, "%s\n", cache->title);

    for (size_t i = 0; rc == 0 && i < cache->count; i++) {
        const char *problem = cache->plans[i].problem, *json = cache->plans[i].json;
        uint32_t crc = wsl_crc32c(0, problem, strlen(problem));

        crc = wsl_crc32c(crc, "\t", 1);
        crc = wsl_crc32c(crc, json, strlen(json));
        rc = wsl_buf_add_format(text, "%08x\t%s\t", crc, problem);
        if (rc == 0)
            rc = wsl_buf_add_text(text, json);
        if (rc == 0)
            rc = wsl_buf_add_text(text, "\n");
    }
    return rc;
}

int wsl_cuda_cache_save(struct wsl_cuda_cache *cache, struct wsl_err *err)
{
    struct wsl_buf text = {0};
    char directory[WSL_CUDA_CACHE_PATH];
    int rc;

    if (!cache->changed || !*cache->path)
        return 0;
    snprintf(directory, sizeof directory, "%s", cache->path);
    *strrchr(directory, '/') = '\0'; /* wsl_cuda_cache_path always has one */
    rc = write_text(cache, &text);
    if (rc)
        wsl_fail(err, rc, "no memory for the text of %s", cache->path);
    if (rc == 0 && *directory)
        rc = wsl_file_make_directories(directory, err);
    if (rc == 0)
        rc = wsl_file_write_atomic(cache->path, text.data, text.size, err);
    if (rc == 0)
        cache->changed = false;
    wsl_buf_free(&text);
    return rc;
}
