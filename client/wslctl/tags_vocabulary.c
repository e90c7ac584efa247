/* SPDX-License-Identifier: Apache-2.0
 *
 * tags vocabulary, segment.
 */
#include "client/wslctl/tags.h"

#include "base/utf8.h"
#include "storage/vocabulary/segment.h"
#include "storage/vocabulary/vocabulary.h"

#include <stdio.h>
#include <string.h>

#define WORDNET "/usr/share/wordnet"

/* ---- vocabulary ---- */

static void add_line(struct wsl_buf *out, uint64_t n, const char *what)
{
    char text[WSL_CTL_TEXT];

    wsl_ctl_count(n, text);
    wsl_buf_add_format(out, "  %10s  %s\n", text, what);
}

static int put_vocabulary(const struct wsl_ctl *ctl, const char *file,
                          const struct wsl_vocabulary *l, const struct wsl_vocabulary_stats *s)
{
    struct wsl_buf out = {0};

    if (ctl->format == WSL_CTL_JSON)
        return wsl_ctl_put_json(
            wsl_ctl_json_document(
                "vocabulary",
                json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "file",
                          wsl_ctl_json_text(file, strlen(file)), "tags", (json_int_t)l->tag_count,
                          "spellings", (json_int_t)s->spellings, "unknown", (json_int_t)s->unknown,
                          "merged", (json_int_t)s->merged, "rare", (json_int_t)s->rare, "segmented",
                          (json_int_t)s->segmented, "classes", (json_int_t)s->classes,
                          "classes_found", (json_int_t)s->classes_found),
                NULL),
            WSL_CTL_DONE);
    if (ctl->quiet)
        return WSL_CTL_DONE;
    wsl_buf_add_format(&out, "%s: %zu tags from %llu spellings\n", file, l->tag_count,
                       (unsigned long long)s->spellings);
    if (s->unknown)
        add_line(&out, s->unknown, "words that are not a WordNet noun");
    if (s->merged)
        add_line(&out, s->merged, "spellings merged with another of the same noun");
    if (s->segmented)
        add_line(&out, s->segmented, "spellings split into words");
    if (s->rare)
        add_line(&out, s->rare, "tags dropped as too rare");
    if (s->classes)
        wsl_buf_add_format(&out, "  %10llu  of %llu classes have a tag\n",
                           (unsigned long long)s->classes_found, (unsigned long long)s->classes);
    for (size_t i = 0; i < l->tag_count && i < 5; i++) {
        char text[WSL_CTL_TEXT];

        wsl_ctl_count(l->tags[i].images, text);
        wsl_buf_add_format(&out, "  %10s  images of %s\n", text, l->tags[i].name);
    }
    return wsl_ctl_put(&out, 0, WSL_CTL_DONE);
}

int wsl_ctl_tags_vocabulary(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_vocabulary_setup setup = {0};
    struct wsl_vocabulary_stats stats;
    struct wsl_vocabulary vocabulary;
    const char *into = NULL;
    struct wsl_dataset *ds;
    struct wsl_err err = {0};
    int code;
    const struct wsl_arg rows[] = {
        {"into", 0, WSL_ARG_TEXT, &into, 0, 0, "FILE",
         "the vocabulary file to write; replaced if it exists"},
        {"wordnet", 0, WSL_ARG_TEXT, &setup.wordnet, 0, 0, "DIR",
         "directory of WordNet: merge the spellings of one noun, e.g. " WORDNET},
        {"only-nouns", 0, WSL_ARG_FLAG, &setup.only_nouns, 0, 0, NULL,
         "drop tags that are not a WordNet noun"},
        {"segment", 0, WSL_ARG_FLAG, &setup.segment, 0, 0, NULL,
         "split run-together tags that are not a noun into words"},
        {"match", 0, WSL_ARG_TEXT, &setup.classes, 0, 0, "FILE",
         "keep only tags that mean a class of this file"},
        {"top", 0, WSL_ARG_UINT, &setup.top, 1, 1e9, "N",
         "keep only the N most frequent tags (default: all)"},
        {"min-images", 0, WSL_ARG_UINT, &setup.min_images, 1, 1e12, "N",
         "drop tags with fewer training images (default: 1)"},
    };

    if (!wsl_ctl_parse(ctl, rows, (int)(sizeof rows / sizeof rows[0]), argc, argv))
        return ctl->exit_code;
    if (!into)
        return wsl_ctl_usage(ctl, "needs --into FILE");
    if (!setup.wordnet && (setup.only_nouns || setup.segment))
        return wsl_ctl_usage(ctl, "--only-nouns and --segment need --wordnet DIR");
    code = wsl_ctl_check_input(ctl, "wordnet", setup.wordnet);
    if (code == WSL_CTL_DONE)
        code = wsl_ctl_check_input(ctl, "match", setup.classes);
    if (code != WSL_CTL_DONE)
        return code;
    if (!wsl_ctl_open_data(ctl, &ds))
        return ctl->exit_code;
    code = wsl_vocabulary_make(&vocabulary, ds, &setup, &stats, &err);
    wsl_dataset_close(ds);
    if (code < 0)
        return wsl_ctl_fail(ctl, &err);
    code = wsl_vocabulary_save(&vocabulary, into, &err);
    code = code < 0 ? wsl_ctl_fail(ctl, &err) : put_vocabulary(ctl, into, &vocabulary, &stats);
    wsl_vocabulary_free(&vocabulary);
    return code;
}

/* ---- segment ---- */

static json_t *words_json(const struct wsl_segmentation *cut)
{
    json_t *list = json_array();

    for (int i = 0; i < cut->count; i++)
        json_array_append_new(list, json_pack("{s:s, s:b, s:o}", "word", cut->words[i].text, "noun",
                                              cut->words[i].noun, "score",
                                              wsl_json_real(cut->words[i].score)));
    return list;
}

static void add_cut(struct wsl_buf *out, json_t *list, const char *tag, const struct wsl_noun *noun,
                    const struct wsl_segmentation *cut)
{
    if (list) {
        json_array_append_new(
            list,
            json_pack("{s:s, s:o, s:o}", "tag", tag, "noun",
                      noun ? json_stringn(noun->lemma, (size_t)noun->lemma_size) : json_null(),
                      "words", cut ? words_json(cut) : json_null()));
        return;
    }
    wsl_buf_add_format(out, "%s:", tag);
    if (noun)
        wsl_buf_add_format(out, " is the noun %.*s", noun->lemma_size, noun->lemma);
    else if (!cut)
        wsl_buf_add_text(out, " stays as it is");
    for (int i = 0; !noun && cut && i < cut->count; i++)
        wsl_buf_add_format(out, "%s %s%s%s %.1f", i > 0 ? " +" : "", cut->words[i].noun ? "" : "(",
                           cut->words[i].text, cut->words[i].noun ? "" : ")", cut->words[i].score);
    if (!noun && cut)
        wsl_buf_add_format(out, " = %.1f", cut->score);
    wsl_buf_add_text(out, "\n");
}

static int segment_all(struct wsl_ctl *ctl, const struct wsl_wordnet *wn,
                       const struct wsl_segmenter *segmenter)
{
    json_t *list = ctl->format == WSL_CTL_JSON ? json_array() : NULL;
    struct wsl_buf out = {0};

    for (int i = 0; i < ctl->word_count; i++) {
        struct wsl_segmentation cut;
        struct wsl_noun noun;
        char tag[WSL_TAG_SIZE];
        bool known, made;

        if (!wsl_utf8_is_clean(ctl->words[i], strlen(ctl->words[i])) ||
            wsl_text_fold_tag(ctl->words[i], strlen(ctl->words[i]), tag) == 0) {
            json_decref(list);
            wsl_buf_free(&out);
            return wsl_ctl_usage(ctl, "tag %d is empty, too long or not UTF-8", i + 1);
        }
        known = wsl_wordnet_find(wn, tag, &noun);
        made = !known && wsl_segment(segmenter, tag, &cut);
        add_cut(&out, list, tag, known ? &noun : NULL, made ? &cut : NULL);
    }
    if (list)
        return wsl_ctl_put_json(wsl_ctl_json_document("tags", list, NULL), WSL_CTL_DONE);
    return wsl_ctl_put(&out, 0, WSL_CTL_DONE);
}

int wsl_ctl_tags_segment(struct wsl_ctl *ctl, int argc, char **argv)
{
    const char *directory = WORDNET;
    struct wsl_segmenter *segmenter = NULL;
    struct wsl_wordnet *wn = NULL;
    struct wsl_err err = {0};
    int code;
    const struct wsl_arg rows[] = {
        {"wordnet", 0, WSL_ARG_TEXT, &directory, 0, 0, "DIR",
         "directory of WordNet (default: " WORDNET ")"},
    };

    if (!wsl_ctl_parse(ctl, rows, 1, argc, argv))
        return ctl->exit_code;
    code = wsl_ctl_check_input(ctl, "wordnet", directory);
    if (code != WSL_CTL_DONE)
        return code;
    code = wsl_wordnet_open(&wn, directory, &err);
    if (code == 0)
        code = wsl_segmenter_open(&segmenter, wn, directory, &err);
    code = code < 0 ? wsl_ctl_fail(ctl, &err) : segment_all(ctl, wn, segmenter);
    wsl_segmenter_close(segmenter);
    wsl_wordnet_close(wn);
    return code;
}
