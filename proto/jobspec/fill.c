/* SPDX-License-Identifier: Apache-2.0
 *
 * Defaults: those of the table, and those that follow from other fields.
 */
#include "proto/jobspec/table.h"
#include "proto/message.h"

static void fill_rules(Wsl__V1__JobSpec *spec)
{
    Wsl__V1__Schedule *schedule = spec->schedule;

    if (spec->optimizer->learning_rate == 0)
        spec->optimizer->learning_rate = 0.1 * spec->batch / 256;
    if (schedule->steps == 0 && schedule->kind == WSL__V1__SCHEDULE_KIND__STEP_HALVING)
        schedule->steps = 10;
    if (schedule->steps == 0 && schedule->kind == WSL__V1__SCHEDULE_KIND__STEP_TENTH)
        schedule->steps = 3;
    if (schedule->warmup_from == 0)
        schedule->warmup_from = spec->optimizer->learning_rate / 10;
    if (spec->augmentation->none) /* has no crop; the printed form must parse back */
        spec->augmentation->min_area = 0;
    if (spec->kind == WSL__V1__JOB_KIND__TRANSFER && spec->mode == 0)
        spec->mode = WSL__V1__TRANSFER_MODE__FINETUNE;
}

int wsl_jobspec_fill(Wsl__V1__JobSpec *spec, struct wsl_err *err)
{
    for (int s = SPEC_TOP + 1; s < SPEC_SECTIONS; s++)
        if (!wsl_spec_section_make(spec, (enum wsl_spec_section)s))
            return wsl_fail(err, WSL_ENOMEM, "no memory for a job specification");
    for (size_t i = 0; i < wsl_spec_field_count; i++) {
        const struct wsl_spec_field *field = &wsl_spec_fields[i];
        void *message = wsl_spec_section_of(spec, field->section);

        if (field->fallback != 0 && !(field->flags & SPEC_KEEP_ZERO) &&
            wsl_spec_number(field, message) == 0)
            wsl_spec_set_number(field, message, field->fallback);
    }
    fill_rules(spec);
    return 0;
}

Wsl__V1__JobSpec *wsl_jobspec_copy(const Wsl__V1__JobSpec *spec)
{
    return (Wsl__V1__JobSpec *)wsl_message_copy(&spec->base);
}
