/* SPDX-License-Identifier: Apache-2.0
 *
 * Collects the members of a sample, then decides which of them are images and whose the texts are.
 */
#include "storage/import/tar_sample.h"

#include "base/number.h"
#include "base/text_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

enum {
    TEXT_LIMIT = 1 << 20, /* of a .json, .txt, ...; img2dataset's with Exif have 100 KB */
    /* Beyond these a sample ends with the next stem: names like v1.000001.jpg all share a key. */
    MEMBER_LIMIT = 64,
    BYTES_LIMIT = 64 << 20,
    STEM_LIMIT = 256, /* ends in any case */
    KEEP = 16 << 20,  /* memory that stays for the next sample */
};

void wsl_tar_sample_free(struct tar_sample *sample)
{
    free(sample->members);
    wsl_buf_free(&sample->names);
    wsl_buf_free(&sample->bytes);
    wsl_source_names_free(&sample->label_names);
}

/* ---- names ---- */

static const char *base_of(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash ? slash + 1 : name;
}

static size_t key_size(const char *name)
{
    return (size_t)(strchr(base_of(name), '.') - name);
}

static size_t stem_size(const char *name)
{
    return (size_t)(strrchr(name, '.') - name);
}

enum sample_part wsl_tar_sample_part(const char *name)
{
    static const struct {
        const char *extension;
        enum sample_part part;
    } parts[] = {{".cls", SAMPLE_CLS},
                 {".tags", SAMPLE_TAGS},
                 {".json", SAMPLE_JSON},
                 {".txt", SAMPLE_TEXT},
                 {".caption", SAMPLE_TEXT}};
    const char *base = base_of(name), *dot = strrchr(base, '.');

    if (!dot || base[0] == '.')
        return SAMPLE_OTHER;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strcasecmp(parts[i].extension, dot) == 0)
            return parts[i].part;
    return wsl_source_is_image_name(base) ? SAMPLE_IMAGE : SAMPLE_OTHER;
}

static const char *name_of(const struct tar_sample *sample, const struct sample_member *m)
{
    return (const char *)sample->names.data + m->name;
}

static bool has_name(const struct tar_sample *sample, const char *name)
{
    for (size_t i = 0; i < sample->count; i++)
        if (strcmp(name_of(sample, &sample->members[i]), name) == 0)
            return true;
    return false;
}

static bool same_stem(const struct tar_sample *sample, const struct sample_member *m,
                      const char *name)
{
    return m->stem_size == stem_size(name) && memcmp(name_of(sample, m), name, m->stem_size) == 0;
}

bool wsl_tar_sample_takes(const struct tar_sample *sample, const char *name)
{
    size_t n = sample->count;

    if (n == 0)
        return true;
    if (sample->key_size != key_size(name) ||
        memcmp(name_of(sample, sample->members), name, sample->key_size) != 0 ||
        has_name(sample, name) || n >= STEM_LIMIT)
        return false;
    return (n < MEMBER_LIMIT && sample->bytes.size < BYTES_LIMIT) ||
           same_stem(sample, &sample->members[n - 1], name);
}

/* ---- adding ---- */

static int no_memory(struct wsl_err *err)
{
    return wsl_fail(err, WSL_ENOMEM, "no memory for the members of a tar file");
}

static struct sample_member *push(struct tar_sample *sample, const struct tar_member *member)
{
    struct sample_member *m;

    if (sample->count == sample->capacity) {
        size_t capacity = sample->capacity ? 2 * sample->capacity : 8;
        struct sample_member *more = realloc(sample->members, capacity * sizeof *more);

        if (!more)
            return NULL;
        sample->members = more;
        sample->capacity = capacity;
    }
    if (sample->count == 0) {
        sample->key_size = key_size(member->name);
        sample->next = 0;
        sample->bytes.limit = (size_t)4 * SOURCE_IMAGE_MAX;
    }
    m = &sample->members[sample->count];
    *m = (struct sample_member){.part = wsl_tar_sample_part(member->name),
                                .name = sample->names.size,
                                .stem_size = stem_size(member->name),
                                .scattered = member->scattered,
                                .offset = member->offset,
                                .size = member->size};
    if (wsl_buf_add(&sample->names, member->name, strlen(member->name) + 1) < 0)
        return NULL;
    sample->count++;
    return m;
}

static void set_fault(struct sample_member *m, enum wsl_quarantine_reason reason,
                      const char *detail)
{
    m->reason = reason;
    m->detail = detail;
}

int wsl_tar_sample_add(struct tar_sample *sample, struct tar_file *tar,
                       const struct tar_member *member, struct wsl_err *err)
{
    struct sample_member *m = push(sample, member);
    int r = 0;

    if (!m)
        return no_memory(err);
    if (member->fault)
        set_fault(m, WSL_QUARANTINE_DAMAGED, member->fault);
    else if (m->part == SAMPLE_IMAGE && m->size == 0)
        set_fault(m, WSL_QUARANTINE_DAMAGED, "the file is empty");
    else if (m->part == SAMPLE_IMAGE && m->size > SOURCE_IMAGE_MAX)
        set_fault(m, WSL_QUARANTINE_TOO_LARGE, "over 256 MiB");
    else if (m->part != SAMPLE_IMAGE && m->size > TEXT_LIMIT)
        set_fault(m, WSL_QUARANTINE_LINE, "is longer than 1 MiB");
    else if (m->part == SAMPLE_IMAGE && wsl_tar_file_is_seekable(tar) && !member->scattered)
        return 0;
    if (m->detail)
        return 0;
    m->bytes = sample->bytes.size;
    m->has_bytes = true;
    r = wsl_tar_file_read(tar, &sample->bytes, err);
    if (r == 0 && wsl_buf_add(&sample->bytes, "", 1) < 0) /* each text ends in a zero byte */
        r = WSL_ELIMIT;
    if (r == WSL_ELIMIT)
        set_fault(m, WSL_QUARANTINE_TOO_LARGE, "too large together with what lies beside it");
    else if (r < 0)
        set_fault(m, WSL_QUARANTINE_DAMAGED, "the tar file ends within it");
    m->has_bytes = r == 0;
    return r == WSL_ELIMIT ? 0 : r;
}

/* ---- which texts an image has ---- */

static bool is_bare(const struct tar_sample *sample, const struct sample_member *m)
{
    return m->stem_size == sample->key_size;
}

/* The text of a kind that is closest to the image: that of its name, of its stem, of the sample. */
static struct sample_member *text_of(const struct tar_sample *sample,
                                     const struct sample_member *image, enum sample_part part)
{
    const char *name = name_of(sample, image);
    struct sample_member *best = NULL;
    int best_rank = 0;

    for (size_t i = 0; i < sample->count; i++) {
        struct sample_member *m = &sample->members[i];
        const char *text = name_of(sample, m);
        int rank = 0;

        if (m->part != part)
            continue;
        if (strlen(name) == m->stem_size && memcmp(text, name, m->stem_size) == 0)
            rank = 3;
        else if (same_stem(sample, m, name))
            rank = 2;
        else if (is_bare(sample, m))
            rank = 1;
        if (rank > best_rank) {
            best = m;
            best_rank = rank;
        }
    }
    return best;
}

/* Whether the image shares no text with others: one has its name, or is there for its stem. */
static bool has_text_of(const struct tar_sample *sample, const struct sample_member *image,
                        bool by_name, bool bare)
{
    const char *name = name_of(sample, image);

    for (size_t i = 0; i < sample->count; i++) {
        const struct sample_member *m = &sample->members[i];

        if (m->part >= SAMPLE_IMAGE)
            continue;
        if (bare      ? is_bare(sample, m)
            : by_name ? strlen(name) == m->stem_size &&
                            memcmp(name_of(sample, m), name, m->stem_size) == 0
                      : same_stem(sample, m, name))
            return true;
    }
    return false;
}

static int rank_of(const struct tar_sample *sample, const struct sample_member *image)
{
    const char *extension = name_of(sample, image) + sample->key_size + 1;
    int rank = is_bare(sample, image) ? 0
               : strncasecmp(extension, "image.", 6) == 0 || strncasecmp(extension, "img.", 4) == 0
                   ? 2
                   : 4;

    return rank + (strcasecmp(strrchr(extension - 1, '.'), ".png") == 0);
}

/* The first of the lowest rank: of all, or of those with the same stem. */
static bool is_best(const struct tar_sample *sample, const struct sample_member *image, bool of_all)
{
    int rank = rank_of(sample, image);

    for (size_t i = 0; i < sample->count; i++) {
        const struct sample_member *m = &sample->members[i];
        int other;

        if (m->part != SAMPLE_IMAGE || m == image ||
            (!of_all && !same_stem(sample, m, name_of(sample, image))))
            continue;
        other = rank_of(sample, m);
        if (other < rank || (other == rank && m < image))
            return false;
    }
    return true;
}

/* A record, as good or bad as it is; not one that only accompanies another. */
static bool is_record(const struct tar_sample *sample, const struct sample_member *image)
{
    if (has_text_of(sample, image, true, false))
        return true;
    if (has_text_of(sample, image, false, false))
        return is_best(sample, image, false);
    return !has_text_of(sample, image, false, true) || is_best(sample, image, true);
}

/* ---- words ---- */

/* What the texts of one image gave. */
struct finding {
    struct sample_member *texts[SAMPLE_IMAGE];
    json_t *object;                  /* of its .json, or NULL */
    const struct sample_member *bad; /* a text that could not be read, or NULL: see reason */
};

/* A text without its byte order mark and blanks around it; size 0: there is none. */
static const char *text_at(struct tar_sample *sample, struct finding *f, enum sample_part part,
                           size_t *ret_size)
{
    const struct sample_member *m = f->texts[part];
    const char *text = "", *encoding;
    size_t n = 0, skip = 0;

    *ret_size = 0;
    if (!m)
        return text;
    if (m->has_bytes) {
        text = (const char *)sample->bytes.data + m->bytes;
        n = (size_t)m->size;
    }
    encoding = wsl_text_input_encoding(text, n, &skip);
    if (encoding || m->detail) {
        f->bad = m;
        snprintf(sample->detail, sizeof sample->detail, "its %s %s%s%s",
                 strrchr(name_of(sample, m), '.'), encoding ? "is " : m->detail,
                 encoding ? encoding : "", encoding ? ", not UTF-8" : "");
        return "";
    }
    text += skip;
    n -= skip;
    while (n > 0 && text[n - 1] && strchr(" \t\r\n", text[n - 1]))
        n--;
    while (n > 0 && *text && strchr(" \t\r\n", *text)) {
        text++;
        n--;
    }
    *ret_size = n;
    return text;
}

static const char *label_name(const struct tar_sample *sample, const char *text, size_t *size,
                              char buffer[24])
{
    uint64_t value;

    if (*size >= 24)
        return text;
    memcpy(buffer, text, *size);
    buffer[*size] = '\0';
    if (wsl_number_parse_u64(buffer, &value) < 0)
        return text;
    text = wsl_source_names_get(&sample->label_names, value, buffer);
    *size = strlen(text);
    return text;
}

/* Python writes numbers that are none as NaN and Infinity, which no JSON has: empty texts of the
 * same length. */
static void mend_numbers(char *text, size_t size)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    bool quoted = false;

    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            quoted = !quoted;
        else if (quoted)
            i += text[i] == '\\';
        for (size_t w = 0; !quoted && w < 3; w++) {
            size_t n = strlen(words[w]);

            if (size - i >= n && memcmp(text + i, words[w], n) == 0) {
                memset(text + i, ' ', n);
                text[i] = text[i + 1] = '"';
                i += n - 1;
                break;
            }
        }
    }
}

/* A label that is a number: 3.0 is 3, and may have a name. */
static void mend_label(const struct tar_sample *sample, json_t *object)
{
    json_t *label = json_object_get(object, "label");
    double value = json_number_value(label);
    char buffer[24];

    if (!json_is_number(label) || value < 0 || value > 1e15 || value != (double)(uint64_t)value)
        return;
    json_object_set_new(
        object, "label",
        json_string(wsl_source_names_get(&sample->label_names, (uint64_t)value, buffer)));
}

static bool has_field(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return value && !json_is_null(value);
}

static void load_json(struct tar_sample *sample, struct finding *f)
{
    json_error_t error;
    size_t n;
    const char *text = text_at(sample, f, SAMPLE_JSON, &n);

    if (n == 0)
        return;
    mend_numbers((char *)sample->bytes.data + (text - (const char *)sample->bytes.data), n);
    f->object = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json_is_object(f->object)) {
        f->bad = f->texts[SAMPLE_JSON];
        snprintf(sample->detail, sizeof sample->detail, "its .json is no JSON object%s%.120s",
                 f->object ? "" : ": ", f->object ? "" : error.text);
        json_decref(f->object);
        f->object = NULL;
        return;
    }
    mend_label(sample, f->object);
}

/* Whether the .json says what a number stands for that has no name; loads it. */
static bool json_label(struct tar_sample *sample, struct finding *f)
{
    load_json(sample, f);
    return json_is_string(json_object_get(f->object, "label"));
}

static int add_label(struct tar_sample *sample, struct source *s, struct finding *f,
                     struct source_entry *ret, const char **ret_fault, struct wsl_err *err)
{
    char buffer[24];
    size_t n;
    const char *text = text_at(sample, f, SAMPLE_CLS, &n);

    if (n > 0) {
        text = label_name(sample, text, &n, buffer);
        if (text != buffer || !json_label(sample, f))
            return wsl_source_add_word(s, text, n, err);
    } else {
        load_json(sample, f);
    }
    if (has_field(f->object, "label")) {
        sample->decided = true; /* "tags" may be there too */
        return wsl_source_add_json(s, f->object, &sample->decided, ret, ret_fault, err);
    }
    *ret_fault = "no .cls and no .json with \"label\" beside it";
    return 0;
}

static int add_tags(struct tar_sample *sample, struct source *s, struct finding *f,
                    struct source_entry *ret, const char **ret_fault, struct wsl_err *err)
{
    const char *caption;
    size_t n;
    const char *text = text_at(sample, f, SAMPLE_TAGS, &n);

    if (n > 0)
        return wsl_source_add_list(s, text, n, err);
    load_json(sample, f);
    if (has_field(f->object, "tags"))
        return wsl_source_add_json(s, f->object, &sample->decided, ret, ret_fault, err);
    text = text_at(sample, f, SAMPLE_TEXT, &n);
    if (n > 0)
        return wsl_source_add_hashtags(s, text, n, ret_fault, err);
    caption = json_string_value(json_object_get(f->object, "caption"));
    if (caption)
        return wsl_source_add_hashtags(s, caption, strlen(caption), ret_fault, err);
    *ret_fault = "no .tags, .txt or .caption and no .json with \"tags\" beside it";
    return 0;
}

/* Labels when there is a .cls, or a .json with "label" and nothing that has tags before it. */
static bool would_be_labels(struct tar_sample *sample, struct finding *f)
{
    bool labels;
    size_t n;

    text_at(sample, f, SAMPLE_CLS, &n);
    if (n > 0 || f->bad)
        return true;
    text_at(sample, f, SAMPLE_TAGS, &n);
    if (n > 0)
        return false;
    load_json(sample, f);
    labels = has_field(f->object, "label") && !has_field(f->object, "tags");
    json_decref(f->object);
    f->object = NULL;
    return labels;
}

/* Adds the words of the image. Returns 1, 0 with what is wrong, or an error. */
static int add_words(struct tar_sample *sample, struct source *s, struct finding *f,
                     struct source_entry *ret, const char **ret_fault, struct wsl_err *err)
{
    int r;

    *ret_fault = NULL;
    if (!sample->decided)
        s->labels = would_be_labels(sample, f);
    f->bad = NULL;
    r = s->labels ? add_label(sample, s, f, ret, ret_fault, err)
                  : add_tags(sample, s, f, ret, ret_fault, err);
    sample->decided |= s->word_count > 0;
    if (f->bad && s->word_count > 0)
        wsl_source_skip(s, WSL_IMPORT_SKIP_TEXT, name_of(sample, f->bad), f->bad->offset);
    else if (f->bad)
        *ret_fault = sample->detail;
    json_decref(f->object);
    return r < 0 ? r : !*ret_fault;
}

/* ---- giving ---- */

static int give(struct tar_sample *sample, struct source *s, const struct sample_member *image,
                struct source_entry *ret, struct wsl_err *err)
{
    struct finding found = {0};
    const char *fault;
    int r;

    strcpy(s->path, name_of(sample, image));
    ret->offset = image->offset;
    ret->size = image->size;
    for (int part = 0; part < SAMPLE_IMAGE; part++) {
        found.texts[part] = text_of(sample, image, (enum sample_part)part);
        if (found.texts[part])
            found.texts[part]->used = true;
    }
    if (image->detail)
        return wsl_source_quarantine(s, ret, image->reason, "%s", image->detail);
    if (image->has_bytes && s->setup->in_place)
        return wsl_source_quarantine(s, ret, WSL_QUARANTINE_NOT_IN_PLACE, "%s",
                                     image->scattered ? "a sparse file: pack it without --sparse"
                                                      : "in a compressed file: unpack it");
    if (image->has_bytes)
        ret->bytes = sample->bytes.data + image->bytes;
    r = add_words(sample, s, &found, ret, &fault, err);
    return r == 0 ? wsl_source_quarantine(s, ret, WSL_QUARANTINE_NO_TAGS, "%s", fault) : r;
}

/* Texts that no image had; then the sample is empty. */
static void end(struct tar_sample *sample, struct source *s)
{
    for (size_t i = 0; i < sample->count; i++) {
        const struct sample_member *m = &sample->members[i];

        if (m->part != SAMPLE_IMAGE && !m->used)
            wsl_source_skip(s, WSL_IMPORT_SKIP_NO_IMAGE, name_of(sample, m), m->offset);
    }
    sample->count = 0;
    sample->complete = false;
    wsl_buf_clear(&sample->names);
    if (sample->bytes.capacity > KEEP)
        wsl_buf_free(&sample->bytes);
    wsl_buf_clear(&sample->bytes);
}

int wsl_tar_sample_next(struct tar_sample *sample, struct source *s, struct source_entry *ret,
                        struct wsl_err *err)
{
    while (sample->next < sample->count) {
        const struct sample_member *m = &sample->members[sample->next++];

        if (m->part != SAMPLE_IMAGE)
            continue;
        if (is_record(sample, m))
            return give(sample, s, m, ret, err);
        wsl_source_skip(s, WSL_IMPORT_SKIP_SECOND_IMAGE, name_of(sample, m), m->offset);
    }
    end(sample, s);
    return 0;
}
