/* SPDX-License-Identifier: Apache-2.0
 *
 * What the operating system says of this machine.
 */
#include "daemon/worker/facts.h"

#include "daemon/worker/process.h"
#include "daemon/worker/text.h"

#include <dirent.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The value of the first "key : value" line, blanks around it removed. */
static bool value_of(const char *path, const char *key, char *ret, size_t size)
{
    FILE *file = fopen(path, "re");
    char line[512];
    bool found = false;

    if (!file)
        return false;
    while (!found && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        size_t n = strlen(key);

        if (!colon || strncmp(line, key, n) != 0 || line[n + strspn(line + n, " \t")] != ':')
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        wsl_text_line(ret, size, colon, strlen(colon));
        found = true;
    }
    fclose(file);
    return found;
}

static uint64_t memory(const char *key)
{
    char text[64];

    return value_of("/proc/meminfo", key, text, sizeof text) ? strtoull(text, NULL, 10) * 1024 : 0;
}

uint64_t wsl_facts_memory_available(void)
{
    return memory("MemAvailable");
}

static int by_bus(const void *a, const void *b)
{
    return strcmp(((const struct wsl_facts_gpu *)a)->bus, ((const struct wsl_facts_gpu *)b)->bus);
}

static void read_gpu(const char *directory, const char *bus, struct wsl_facts_gpu *ret)
{
    char path[512];

    memset(ret, 0, sizeof *ret);
    snprintf(ret->bus, sizeof ret->bus, "%.31s", bus);
    snprintf(path, sizeof path, "%s/%s/information", directory, bus);
    if (!value_of(path, "Model", ret->name, sizeof ret->name))
        snprintf(ret->name, sizeof ret->name, "GPU");
    /* "GPU-????????-..." until the driver has looked at it */
    if (value_of(path, "GPU UUID", ret->uuid, sizeof ret->uuid) && strchr(ret->uuid, '?'))
        ret->uuid[0] = '\0';
}

/* No library of the driver's maker is needed to know what is there. */
void wsl_facts_read_gpus(const char *directory, struct wsl_facts *ret)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;

    ret->gpu_count = 0;
    if (!dir)
        return;
    while ((entry = readdir(dir)) && ret->gpu_count < WSL_FACTS_GPUS_MAX)
        if (entry->d_name[0] != '.')
            read_gpu(directory, entry->d_name, &ret->gpus[ret->gpu_count++]);
    closedir(dir);
    qsort(ret->gpus, ret->gpu_count, sizeof ret->gpus[0], by_bus);
}

void wsl_facts_read(struct wsl_facts *ret)
{
    struct utsname name = {0};
    cpu_set_t cpus;

    memset(ret, 0, sizeof *ret);
    if (uname(&name) == 0)
        wsl_text_line(ret->host, sizeof ret->host, name.nodename, strlen(name.nodename));
    if (!value_of("/proc/cpuinfo", "model name", ret->cpu_model, sizeof ret->cpu_model))
        wsl_text_line(ret->cpu_model, sizeof ret->cpu_model, name.machine, strlen(name.machine));
    wsl_process_boot_id(ret->boot_id);
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
        ret->cpus = (uint32_t)CPU_COUNT(&cpus);
    else
        ret->cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    ret->memory_bytes = memory("MemTotal");
    wsl_facts_read_gpus("/proc/driver/nvidia/gpus", ret);
}
