/* SPDX-License-Identifier: Apache-2.0
 *
 * Markers: ITU-T T.81 annex B. APP1 "Exif": JEITA CP-3451 (Exif 2.3), 4.6. APP2 "ICC_PROFILE":
 * ICC.1 annex B.4. APP14 "Adobe": Adobe's technical note 5116.
 */
#include "kernels/image/meta.h"

#include <string.h>

#include <xxhash.h>

enum { SOI = 0xd8, EOI = 0xd9, SOS = 0xda, DNL = 0xdc, APP0 = 0xe0, APP1 = 0xe1, APP2 = 0xe2 };
enum { APP14 = 0xee, APP15 = 0xef, COM = 0xfe, TEM = 0x01 };

struct walk {
    const uint8_t *bytes;
    size_t size, at;
    struct wsl_jpeg_header *look;
    unsigned scans;
};

static int corrupt(const struct walk *w, struct wsl_err *err, const char *what)
{
    return wsl_fail(err, WSL_ECORRUPT, "bad JPEG at byte %zu: %s", w->at, what);
}

static unsigned u16_at(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* ---- segments ---- */

static void look_at_app(struct walk *w, int marker, const uint8_t *body, size_t size)
{
    struct wsl_jpeg_header *look = w->look;

    if (marker == APP1 && size > 6 && memcmp(body, "Exif\0", 5) == 0 && !look->has_exif) {
        look->has_exif = true;
        look->orientation = wsl_exif_orientation(body + 6, size - 6);
    } else if (marker == APP2 && size > 14 && memcmp(body, "ICC_PROFILE", 12) == 0) {
        look->profile_bytes += size - 14;
    } else if (marker == APP14 && size >= 12 && memcmp(body, "Adobe", 5) == 0) {
        look->adobe_transform = body[11];
    }
}

static int look_at_frame(struct walk *w, int marker, const uint8_t *body, size_t size,
                         struct wsl_err *err)
{
    struct wsl_jpeg_header *look = w->look;

    if (look->components > 0)
        return corrupt(w, err, "a second frame");
    if (size < 6 || size < 6 + 3 * (size_t)body[5])
        return corrupt(w, err, "a frame header that is too short");
    if (marker > 0xc2 || body[0] != 8)
        return wsl_fail(err, WSL_EUNSUPPORTED, "a JPEG of a rare kind (SOF%d, %d bits)",
                        marker - 0xc0, body[0]);
    look->progressive = marker == 0xc2;
    look->height = (int)u16_at(body + 1);
    look->width = (int)u16_at(body + 3);
    look->components = body[5];
    if (look->width == 0 || look->height == 0 || look->components == 0)
        return corrupt(w, err, "a frame without pixels");
    return 0;
}

/* Steps over coded pixels to the next marker that is none of theirs. */
static int skip_pixels(struct walk *w, struct wsl_err *err)
{
    for (;;) {
        const uint8_t *ff = memchr(w->bytes + w->at, 0xff, w->size - w->at);

        if (!ff || ff + 1 == w->bytes + w->size) {
            w->at = w->size;
            return corrupt(w, err, "it ends within the pixels");
        }
        w->at = (size_t)(ff - w->bytes);
        if (ff[1] != 0 && ff[1] != 0xff && (ff[1] < 0xd0 || ff[1] > 0xd7))
            return 0;
        w->at += ff[1] == 0xff ? 1 : 2;
    }
}

/* At a marker's 0xff. Returns 1 at the end of the image. */
static int take_segment(struct walk *w, struct wsl_err *err)
{
    size_t begin = w->at, size;
    const uint8_t *body;
    int marker, r = 0;

    while (w->at < w->size && w->bytes[w->at] == 0xff)
        w->at++;
    if (w->at == w->size)
        return corrupt(w, err, "it ends early");
    marker = w->bytes[w->at++];
    if (marker == EOI)
        return w->scans ? 1 : corrupt(w, err, "no pixels");
    if (marker == SOI || marker == TEM || (marker >= 0xd0 && marker <= 0xd7))
        return corrupt(w, err, "a marker where it cannot be");
    if (w->size - w->at < 2 || u16_at(w->bytes + w->at) < 2 ||
        u16_at(w->bytes + w->at) > w->size - w->at)
        return corrupt(w, err, "a segment that goes past the end");
    body = w->bytes + w->at + 2;
    size = u16_at(w->bytes + w->at) - 2;
    if ((marker >= APP0 && marker <= APP15) || marker == COM)
        look_at_app(w, marker, body, size);
    else if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc)
        r = look_at_frame(w, marker, body, size, err);
    w->at += 2 + size;
    if (r == 0 && marker == SOS) {
        if (w->look->components == 0)
            return corrupt(w, err, "pixels before a frame");
        w->scans++;
        r = skip_pixels(w, err);
    }
    if (r == 0 && !((marker >= APP0 && marker <= APP15 && marker != APP14) || marker == COM))
        w->look->hash = XXH3_64bits_withSeed(w->bytes + begin, w->at - begin, w->look->hash);
    return r;
}

int wsl_jpeg_header(const uint8_t *bytes, size_t size, struct wsl_jpeg_header *ret,
                    struct wsl_err *err)
{
    struct walk w = {.bytes = bytes, .size = size, .at = 2, .look = ret};
    int r = 0;

    *ret = (struct wsl_jpeg_header){.orientation = 1, .adobe_transform = -1};
    if (size < 4 || bytes[0] != 0xff || bytes[1] != SOI)
        return wsl_fail(err, WSL_EUNSUPPORTED, "no JPEG");
    while (r == 0) {
        if (w.at == size)
            return corrupt(&w, err, "it ends early");
        if (bytes[w.at] != 0xff)
            return corrupt(&w, err, "no marker where one must be");
        r = take_segment(&w, err);
    }
    return r < 0 ? r : 0;
}

/* ---- profiles ---- */

enum { PROFILE_MAX = 4 << 20 };

/* Where each piece of the profile lies, by its number from 1. Returns how many there are, 0 when
 * some are missing. */
static int find_pieces(const uint8_t *bytes, size_t size, const uint8_t *pieces[256])
{
    int count = 0, found = 0;
    size_t at = 2;

    while (size - at >= 4 && bytes[at] == 0xff && bytes[at + 1] != SOS) {
        const uint8_t *body = bytes + at + 4;
        size_t length = u16_at(bytes + at + 2);

        if (bytes[at + 1] == 0xff) {
            at++;
            continue;
        }
        if (length < 2 || length > size - at - 2)
            return 0;
        if (bytes[at + 1] == APP2 && length > 16 && memcmp(body, "ICC_PROFILE", 12) == 0 &&
            body[12] > 0 && !pieces[body[12]]) {
            pieces[body[12]] = bytes + at;
            count = body[13];
            found++;
        }
        at += 2 + length;
    }
    for (int i = 1; i <= count; i++)
        found -= pieces[i] != NULL;
    for (int i = 1; i <= count; i++)
        if (!pieces[i])
            return 0;
    return found == 0 ? count : 0;
}

int wsl_jpeg_profile(const uint8_t *bytes, size_t size, struct wsl_buf *out, struct wsl_err *err)
{
    const uint8_t *pieces[256] = {0};
    int count = size > 4 ? find_pieces(bytes, size, pieces) : 0;

    for (int i = 1; i <= count; i++) {
        size_t length = u16_at(pieces[i] + 2) - 16;
        int r = out->size + length > PROFILE_MAX ? WSL_ELIMIT
                                                 : wsl_buf_add(out, pieces[i] + 18, length);

        if (r < 0)
            return wsl_fail(err, r, "no room for a colour profile");
    }
    return 0;
}
