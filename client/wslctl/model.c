/* SPDX-License-Identifier: Apache-2.0
 *
 * model: the table of its verbs, and how they name a net.
 */
#include "client/wslctl/model.h"

#include <stdio.h>
#include <string.h>

static const struct wsl_ctl_verb verbs[] = {
    {"describe", "show", "[NAME|FILE.yaml]", 0, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Show a model's layers, parameters, multiply-adds, and the memory that a batch needs.",
     "NAME is a published network (resnext50_32x4d, resnext101_32x8d, ...), FILE.yaml a job file "
     "('-' is standard input); --depths describes any other.\n"
     "ACTIVATION is a convolution's output for one image in f32. The memory is what one trainer "
     "needs for its share of the batch, as the network and its backend plan it; nothing is "
     "allocated. -q omits the layers.",
     "  wslctl model describe resnext101_32x8d --batch 24 --micro-batches 3 --recompute\n"
     "  wslctl model describe --depths 1,1,1,1 --groups 32 --width 4 --image-size 64 --classes "
     "150\n"
     "  wslctl model describe job.yaml -o json | jq .model.memory.total",
     wsl_ctl_model_describe},
    {"check", NULL, "FILE", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Say which ResNeXt a safetensors file holds, or what is wrong with it.",
     "Tensors have torchvision's names and shapes, in F32, F16 or BF16; PyTorch's "
     "num_batches_tracked is allowed. A file without a head (fc.*) is accepted: it can be the "
     "'init' of a transfer job. Only the header is read.",
     "  wslctl model check resnext50.safetensors", wsl_ctl_model_check},
    {"export", NULL, "CHECKPOINT", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Copy a checkpoint's weights into a safetensors file that PyTorch reads.",
     "CHECKPOINT is a checkpoint's directory, or a directory of checkpoints: then the newest "
     "complete one is taken. In Python:\n"
     "  net = torchvision.models.resnext50_32x4d(num_classes=150)\n"
     "  net.load_state_dict(safetensors.torch.load_file('weights.safetensors'))",
     "  wslctl model export /var/lib/wsl/checkpoints/7 --into weights.safetensors",
     wsl_ctl_model_export},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

int wsl_ctl_model(struct wsl_ctl *ctl, int argc, char **argv)
{
    return wsl_ctl_group(ctl, verbs, VERBS, argc, argv);
}

void wsl_ctl_model_title(const struct wsl_net_config *config, char *text, size_t size)
{
    const char *name = wsl_net_config_name(config);
    char details[100];

    wsl_net_config_details(config, details, sizeof details);
    snprintf(text, size, name ? "%s (%s)" : "%s%s", name ? name : "", details);
}

static json_t *known(int value)
{
    return value > 0 ? json_integer(value) : json_null();
}

json_t *wsl_ctl_model_json(const struct wsl_net_config *config)
{
    json_t *depths = json_array();

    for (int i = 0; i < config->stages && depths; i++)
        json_array_append_new(depths, json_integer(config->depths[i]));
    return json_pack("{s:s?, s:o, s:i, s:i, s:o, s:o}", "name", wsl_net_config_name(config),
                     "depths", depths, "groups", config->groups, "width", config->width, "classes",
                     known(config->classes), "image_size", known(config->image_size));
}
