/* SPDX-License-Identifier: Apache-2.0
 *
 * nodes: the worker machines.
 */
#include "client/wslctl/wslctl.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

static const struct wsl_ctl_column narrow[] = {
    {"NAME", false}, {"STATE", false}, {"SLOTS", true}, {"CPUS", true},   {"MEMORY", true},
    {"GPUS", true},  {"SEEN", true},   {"JOBS", false}, {"REASON", false}};
/* A machine's name, state and slots are what a narrow terminal shows last. */
static const struct wsl_ctl_fit narrow_fit[] = {{12, 0}, {0, 0}, {0, 0},  {0, 2}, {0, 1},
                                                {0, 3},  {0, 4}, {10, 5}, {16, 6}};
static const struct wsl_ctl_column wide[] = {
    {"NAME", false}, {"STATE", false},   {"SLOTS", true},    {"CPUS", true}, {"MEMORY", true},
    {"FREE", true},  {"GPUS", true},     {"SEEN", true},     {"UP", true},   {"JOBS", false},
    {"HOST", false}, {"ADDRESS", false}, {"VERSION", false}, {"CPU", false}, {"REASON", false}};

static void add_jobs_cell(struct wsl_ctl_table *table, const Wsl__V1__Node *node)
{
    char jobs[200] = "";

    for (size_t i = 0; i < node->n_jobs; i++) {
        size_t used = strlen(jobs);

        snprintf(jobs + used, sizeof jobs - used, "%s%s", used ? "," : "", node->jobs[i]);
    }
    wsl_ctl_cell(table, "%s", jobs);
}

static void add_node(struct wsl_ctl_table *table, const Wsl__V1__Node *node, bool is_wide)
{
    static const Wsl__V1__NodeFacts none = WSL__V1__NODE_FACTS__INIT;
    const Wsl__V1__NodeFacts *facts = node->facts ? node->facts : &none;
    int64_t now = wsl_clock_wall_ms();
    char text[WSL_CTL_TEXT];

    wsl_ctl_cell(table, "%s", node->name);
    wsl_ctl_word(&wsl__v1__node_state__descriptor, (int)node->state, text);
    wsl_ctl_cell(table, "%s", text);
    wsl_ctl_cell(table, "%u/%u", node->slots_used, facts->slots);
    wsl_ctl_cell(table, "%u", facts->cpus);
    wsl_ctl_bytes(facts->memory_bytes, text);
    wsl_ctl_cell(table, "%s", text);
    if (is_wide) {
        wsl_ctl_bytes(node->memory_available_bytes, text);
        wsl_ctl_cell(table, "%s", node->memory_available_bytes ? text : "-");
    }
    wsl_ctl_cell(table, "%zu", facts->n_gpus);
    wsl_ctl_between(node->last_seen_ms, now, text);
    wsl_ctl_cell(table, "%s", text);
    if (is_wide) {
        wsl_ctl_between(node->joined_ms, now, text);
        wsl_ctl_cell(table, "%s", text);
    }
    add_jobs_cell(table, node);
    if (is_wide) {
        wsl_ctl_cell(table, "%s", facts->host);
        wsl_ctl_cell(table, "%s", facts->address);
        wsl_ctl_cell(table, "%s", facts->version);
        wsl_ctl_cell(table, "%s", facts->cpu_model);
    }
    wsl_ctl_cell(table, "%s", node->reason);
}

static int put_json(const struct wsl_ctl *ctl, Wsl__V1__Node *const *nodes, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count && list; i++)
        if (json_array_append_new(list, wsl_ctl_json(&nodes[i]->base)) < 0) {
            json_decref(list);
            list = NULL;
        }
    return wsl_ctl_put_json_list(ctl, "nodes", "node", list, WSL_CTL_DONE);
}

static int put_nodes(struct wsl_ctl *ctl, Wsl__V1__Node *const *nodes, size_t count)
{
    bool is_wide = ctl->format == WSL_CTL_WIDE;
    struct wsl_ctl_table table = {.columns = is_wide ? wide : narrow,
                                  .column_count = is_wide ? (int)(sizeof wide / sizeof wide[0])
                                                          : (int)(sizeof narrow / sizeof narrow[0]),
                                  .fit = is_wide ? NULL : narrow_fit,
                                  .width = wsl_ctl_table_width(ctl),
                                  .color = wsl_ctl_color(ctl)};
    struct wsl_buf out = {0};
    int r = 0;

    if (ctl->format == WSL_CTL_JSON || ctl->format == WSL_CTL_NDJSON)
        return put_json(ctl, nodes, count);
    if (ctl->format == WSL_CTL_NAME || ctl->quiet) {
        for (size_t i = 0; i < count && r == 0; i++)
            r = wsl_buf_add_format(&out, "%s\n", nodes[i]->name);
        return wsl_ctl_put(&out, r, WSL_CTL_DONE);
    }
    if (count == 0) {
        wsl_ctl_note(ctl,
                     "no workers; start one with 'wsl-worker --coordinator %s --name NAME "
                     "--slots 1 --state DIR'",
                     ctl->server);
        return WSL_CTL_DONE;
    }
    for (size_t i = 0; i < count; i++)
        add_node(&table, nodes[i], is_wide);
    return wsl_ctl_put_table(&table, WSL_CTL_DONE);
}

static int show_one(struct wsl_ctl *ctl)
{
    Wsl__V1__GetNodeRequest request = WSL__V1__GET_NODE_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    struct wsl_err err = {0};
    Wsl__V1__Node *node;
    int code = WSL_CTL_FAILED;

    request.name = ctl->words[0];
    if (wsl_ctl_call(ctl, "/wsl.v1.NodeService/Get", &request.base,
                     &wsl__v1__get_node_response__descriptor, &answer, &err) < 0)
        return wsl_ctl_fail(ctl, &err);
    node = ((Wsl__V1__GetNodeResponse *)answer)->node;
    if (node)
        code = put_nodes(ctl, &node, 1);
    protobuf_c_message_free_unpacked(answer, NULL);
    return code;
}

/* Forgets lost ones, each by itself; goes on after one that cannot be. */
static int remove_nodes(struct wsl_ctl *ctl)
{
    int code = WSL_CTL_DONE;

    for (int i = 1; i < ctl->word_count && code != WSL_CTL_UNREACHABLE; i++) {
        Wsl__V1__RemoveNodeRequest request = WSL__V1__REMOVE_NODE_REQUEST__INIT;
        ProtobufCMessage *answer = NULL;
        struct wsl_err err = {0};

        request.name = ctl->words[i];
        if (wsl_ctl_call(ctl, "/wsl.v1.NodeService/Remove", &request.base,
                         &wsl__v1__remove_node_response__descriptor, &answer, &err) < 0) {
            code = wsl_ctl_fail(ctl, &err);
            continue;
        }
        wsl_ctl_note(ctl, "worker %s is removed from the list", ctl->words[i]);
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    return code;
}

int wsl_ctl_nodes(struct wsl_ctl *ctl, int argc, char **argv)
{
    Wsl__V1__ListNodesRequest request = WSL__V1__LIST_NODES_REQUEST__INIT;
    Wsl__V1__ListNodesResponse *response;
    ProtobufCMessage *answer = NULL;
    struct wsl_err err = {0};
    int code;

    if (!wsl_ctl_parse(ctl, NULL, 0, argc, argv))
        return ctl->exit_code;
    if (ctl->word_count == 1 && strcmp(ctl->words[0], "remove") == 0)
        return wsl_ctl_usage(ctl, "nodes remove needs NODE...");
    if (ctl->word_count > 1 && strcmp(ctl->words[0], "remove") == 0)
        return remove_nodes(ctl);
    if (ctl->word_count > 1)
        return wsl_ctl_usage(ctl, "unexpected argument '%s': nodes takes only NODE", ctl->words[1]);
    if (ctl->word_count == 1)
        return show_one(ctl);
    if (wsl_ctl_call(ctl, "/wsl.v1.NodeService/List", &request.base,
                     &wsl__v1__list_nodes_response__descriptor, &answer, &err) < 0)
        return wsl_ctl_fail(ctl, &err);
    response = (Wsl__V1__ListNodesResponse *)answer;
    code = put_nodes(ctl, response->nodes, response->n_nodes);
    protobuf_c_message_free_unpacked(answer, NULL);
    return code;
}
