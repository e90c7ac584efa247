/* SPDX-License-Identifier: Apache-2.0
 *
 * ASCII is folded in a loop of its own, as most tags are; everything else goes through Unicode's
 * tables.
 */
#include "storage/vocabulary/tag_text.h"

#include "base/utf8.h"
#include "storage/vocabulary/unicode.h"

#include <string.h>

#define NOT_ASCII SIZE_MAX

struct tag {
    char *text; /* WSL_TAG_SIZE */
    size_t size;
    bool blank; /* one is due before the next character */
};

/* Adds a character of a folded tag; false when it does not fit. Blanks and underscores become one
 * blank between words, '#' before the first is left out. */
static bool add(struct tag *tag, int32_t code)
{
    char bytes[4] = {(char)code};
    size_t n = 1;

    if (code == ' ' || code == '_' || code == 0x1680 || code == 0x2028 || code == 0x2029) {
        tag->blank = tag->size > 0;
        return true;
    }
    if (code == '#' && tag->size == 0)
        return true;
    if (code >= 0x80)
        n = wsl_unicode_encode(code, bytes);
    if (tag->size + tag->blank + n >= WSL_TAG_SIZE)
        return false;
    if (tag->blank)
        tag->text[tag->size++] = ' ';
    tag->blank = false;
    memcpy(tag->text + tag->size, bytes, n);
    tag->size += n;
    return true;
}

/* The same as add() for each byte, in one loop: most tags are ASCII. Returns the size, 0 when it
 * does not fit, or NOT_ASCII. */
static size_t fold_ascii(const char *text, size_t size, char ret_tag[WSL_TAG_SIZE])
{
    size_t n = 0;

    for (size_t i = 0; i < size; i++) {
        char c = text[i];

        if (c & 0x80)
            return NOT_ASCII;
        if (c >= 'A' && c <= 'Z')
            c += 'a' - 'A';
        if (c == ' ' || c == '_') {
            if (n > 0 && n < WSL_TAG_SIZE - 1 && ret_tag[n - 1] != ' ')
                ret_tag[n++] = ' ';
            continue;
        }
        if (c == '#' && n == 0)
            continue;
        if (n == WSL_TAG_SIZE - 1)
            return 0;
        ret_tag[n++] = c;
    }
    return n > 0 && ret_tag[n - 1] == ' ' ? n - 1 : n;
}

static size_t fold_unicode(const char *text, size_t size, char ret_tag[WSL_TAG_SIZE])
{
    struct tag tag = {.text = ret_tag};
    int32_t codes[WSL_UNICODE_CODES_MAX];
    size_t count = 0;

    for (size_t i = 0, n; i < size; i += n) {
        uint32_t code = 0;

        n = wsl_utf8_decode(text + i, size - i, &code);
        if (n == 0 || count == WSL_UNICODE_CODES_MAX)
            return 0;
        codes[count++] = (int32_t)code;
    }
    count = wsl_unicode_fold(codes, count);
    for (size_t i = 0; i < count; i++)
        if (!add(&tag, codes[i]))
            return 0;
    return tag.size;
}

size_t wsl_text_fold_tag(const char *text, size_t size, char ret_tag[WSL_TAG_SIZE])
{
    size_t n = fold_ascii(text, size, ret_tag);

    if (n == NOT_ASCII)
        n = fold_unicode(text, size, ret_tag);
    ret_tag[n] = '\0';
    return n;
}
