/* SPDX-License-Identifier: Apache-2.0
 *
 * Captions and tags: hashtags of any text, and the folded form of any tag, which folds to itself.
 */
#include "base/utf8.h"
#include "storage/vocabulary/hashtag.h"
#include "storage/vocabulary/tag_text.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

static void fold(const char *text, size_t size)
{
    char once[WSL_TAG_SIZE], twice[WSL_TAG_SIZE];
    size_t n;

    if (!wsl_utf8_is_clean(text, size))
        return;
    n = wsl_text_fold_tag(text, size, once);
    if (n == 0)
        return;
    assert(wsl_utf8_is_clean(once, n) && once[n] == '\0');
    assert(wsl_text_fold_tag(once, n, twice) == n && memcmp(once, twice, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes, *last = text, *tag;
    struct wsl_hashtags h = {.text = text, .size = size};

    fold(text, size);
    if (!wsl_utf8_is_valid(text, size))
        return 0;
    while (wsl_hashtags_next(&h, &tag, &size)) {
        assert(size > 0 && tag > last && size <= h.size - (size_t)(tag - text));
        fold(tag, size);
        last = tag + size;
    }
    return 0;
}

bool fuzz_real_input(int number, struct wsl_buf *ret)
{
    static const char *const captions[] = {
        "A #Boat on the #lake, see http://a.org/(b)#c and a.org/#d #1 #2nd &#39; "
        "\uff03\u72ac\u3002",
        "#\u06a9\u062a\u0627\u0628\u200c\u0647\u0627 #\u0dc1\u0dca\u200d\u0dbb\u0dd3 "
        "#\u30ab\u301c\u30ab\u30fc",
        "#\U0001f468\u200d\U0001f469\u200d\U0001f467 #sun\u2600\ufe0f #\U0001f1f3\U0001f1f4 "
        "#\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "Stra\u00dfe_CAFE\u0301",
        "\u03b1\u0345\u0301\u1f88\ufdfa\u1100\u1161\u11a8\uff76\uff9e",
    };

    return number < 5 && wsl_buf_add(ret, captions[number], strlen(captions[number])) == 0;
}
