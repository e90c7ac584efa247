/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodings and lines of texts from outside.
 */
#include "base/text_input.h"

#include "base/file.h"

#include <string.h>

static bool begins(const uint8_t *bytes, size_t size, const char *mark, size_t mark_size)
{
    return size >= mark_size && memcmp(bytes, mark, mark_size) == 0;
}

const char *wsl_text_input_encoding(const void *bytes, size_t size, size_t *ret_skip)
{
    const uint8_t *p = bytes;

    *ret_skip = 0;
    /* A mark of UTF-32 begins with the one of UTF-16. */
    if (begins(p, size, "\xff\xfe\0\0", 4) || begins(p, size, "\0\0\xfe\xff", 4))
        return "UTF-32";
    if (begins(p, size, "\xff\xfe", 2) || begins(p, size, "\xfe\xff", 2))
        return "UTF-16";
    /* Without a mark: zeros beside the first character. */
    if (size >= 4 && ((p[0] && !p[1] && !p[2] && !p[3]) || (!p[0] && !p[1] && !p[2] && p[3])))
        return "UTF-32";
    if (size >= 4 && ((p[0] && !p[1] && p[2] && !p[3]) || (!p[0] && p[1] && !p[2] && p[3])))
        return "UTF-16";
    if (begins(p, size, "\xef\xbb\xbf", 3))
        *ret_skip = 3;
    return NULL;
}

int wsl_text_input_wrong_encoding(const char *path, const char *encoding, struct wsl_err *err)
{
    return wsl_fail(err, WSL_ECORRUPT, "%s is %s; save it as UTF-8", path, encoding);
}

int wsl_text_input_read(const char *path, size_t limit, struct wsl_buf *ret, struct wsl_err *err)
{
    const char *encoding;
    const uint8_t *nul;
    size_t skip;
    int r = wsl_file_read(path, limit, ret, err);

    if (r < 0 || ret->size == 0)
        return r;
    encoding = wsl_text_input_encoding(ret->data, ret->size, &skip);
    nul = memchr(ret->data, '\0', ret->size);
    if (encoding)
        r = wsl_text_input_wrong_encoding(path, encoding, err);
    else if (nul)
        r = wsl_fail(err, WSL_ECORRUPT, "%s is not a text file: byte %td is NUL", path,
                     nul - ret->data);
    if (r < 0)
        wsl_buf_free(ret);
    else
        wsl_buf_drop(ret, skip);
    return r;
}

char *wsl_text_input_line(char **rest, size_t *ret_size)
{
    char *line = *rest, *end;

    if (!line || !*line)
        return NULL;
    end = strchrnul(line, '\n');
    *rest = *end ? end + 1 : end;
    *end = '\0';
    if (end > line && end[-1] == '\r')
        *--end = '\0';
    *ret_size = (size_t)(end - line);
    return line;
}
