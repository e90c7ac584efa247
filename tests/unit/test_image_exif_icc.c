/* SPDX-License-Identifier: Apache-2.0
 *
 * Images as a viewer shows them - turned, with their colour profiles, the first of an animation -
 * and JPEGs handled without decoding: looked at, coded anew.
 */
#include "image_files.h"

#include "base/file.h"
#include "kernels/image/meta.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <lcms2.h>
#include <png.h>
#include <zlib.h>

#include <cmocka.h>

static struct wsl_image see(const struct wsl_buf *file)
{
    const struct wsl_image_limits limits = {.apply_exif_and_icc = true};
    struct wsl_image image = {0};
    struct wsl_err err;

    if (wsl_image_decode(file->data, file->size, &limits, &image, &err) < 0)
        fail_msg("%s", err.text);
    return image;
}

static void must_be_near(const struct wsl_image *a, const struct wsl_image *b, double mean,
                         int most)
{
    struct image_difference d;

    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    d = image_compare(a->pixels, b->pixels, image_bytes_of(a));
    if (d.mean > mean || d.most > most)
        fail_msg("differ by %g on average, %d at most", d.mean, d.most);
}

/* A photograph of Debian's Tux Paint stamps on white, or a drawing where they are not installed. */
static struct wsl_image photograph(void)
{
    static const char path[] = "/usr/share/tuxpaint/stamps/food/fruit/Apricot_whole.png";
    const struct wsl_image_limits limits = {.side_max = 160};
    struct wsl_image image;
    struct wsl_buf file = {0};
    int r;

    if (wsl_file_read(path, 8 << 20, &file, NULL) < 0)
        return image_draw(160, 120, 3);
    r = wsl_image_decode(file.data, file.size, &limits, &image, NULL);
    wsl_buf_free(&file);
    assert_int_equal(r, 0);
    return image;
}

/* ---- orientation ---- */

static void add_exif(struct wsl_buf *out, int orientation, bool little)
{
    static const uint8_t intel[] = {'I', 'I', '*', 0, 8, 0,   0,   0,   2, 0,    0x0f, 1, 2,
                                    0,   4,   0,   0, 0, 'c', 'a', 'm', 0, 0x12, 1,    3, 0,
                                    1,   0,   0,   0, 0, 0,   0,   0,   0, 0,    0,    0};
    static const uint8_t motorola[] = {'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1, 1, 0x12, 0,
                                       3,   0,   0, 0,   1, 0, 0, 0, 0, 0, 0, 0,    0};
    size_t from = out->size;

    wsl_buf_add(out, little ? intel : motorola, little ? sizeof intel : sizeof motorola);
    out->data[from + (little ? 30 : 19)] = (uint8_t)orientation;
}

static void add_marker(struct wsl_buf *out, int marker, const void *bytes, size_t size)
{
    uint8_t head[4] = {0xff, (uint8_t)marker, (uint8_t)((size + 2) >> 8), (uint8_t)(size + 2)};

    wsl_buf_add(out, head, 4);
    wsl_buf_add(out, bytes, size);
}

static struct wsl_buf jpeg_with_exif(const struct wsl_buf *jpeg, int orientation, bool little)
{
    struct wsl_buf out = {0}, body = {0};

    wsl_buf_add(&body, "Exif\0", 6);
    add_exif(&body, orientation, little);
    wsl_buf_add(&out, jpeg->data, 2);
    add_marker(&out, 0xe1, body.data, body.size);
    wsl_buf_add(&out, jpeg->data + 2, jpeg->size - 2);
    wsl_buf_free(&body);
    return out;
}

/* Mirrored left-right. */
static void mirror(struct wsl_image *image)
{
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width / 2; x++)
            for (int c = 0; c < 3; c++) {
                uint8_t *row = image->pixels + (size_t)y * (size_t)image->width * 3;
                uint8_t *a = row + 3 * x + c, *b = row + 3 * (image->width - 1 - x) + c, was = *a;

                *a = *b;
                *b = was;
            }
}

/* A quarter turn clockwise. */
static void quarter(struct wsl_image *image)
{
    struct wsl_image to = {malloc(image_bytes_of(image)), image->height, image->width};

    for (int y = 0; y < to.height; y++)
        for (int x = 0; x < to.width; x++)
            memcpy(to.pixels + 3 * (y * to.width + x),
                   image->pixels + 3 * ((image->height - 1 - x) * image->width + y), 3);
    wsl_image_free(image);
    *image = to;
}

/* What each orientation asks for, in quarter turns and mirrorings (Exif 2.3, 4.6.4). */
static void turn(struct wsl_image *image, int orientation)
{
    static const struct {
        bool mirror;
        int quarters;
    } ways[] = {[1] = {false, 0}, [2] = {true, 0},  [3] = {false, 2}, [4] = {true, 2},
                [5] = {true, 3},  [6] = {false, 1}, [7] = {true, 1},  [8] = {false, 3}};

    if (ways[orientation].mirror)
        mirror(image);
    for (int i = 0; i < ways[orientation].quarters; i++)
        quarter(image);
}

static struct wsl_buf encode_png(const struct wsl_image *image, const struct wsl_buf *profile,
                                 double gamma, int orientation);

static void images_are_turned(void **state)
{
    struct wsl_image plain = photograph();
    struct wsl_buf jpeg = image_encode(&plain, 95);

    (void)state;
    for (int o = 1; o <= 8; o++) {
        struct wsl_image wanted = image_decode(jpeg.data, jpeg.size, 0), is;
        struct wsl_buf file = jpeg_with_exif(&jpeg, o, o % 2), png = {0};
        struct wsl_jpeg_header look;

        assert_int_equal(wsl_jpeg_header(file.data, file.size, &look, NULL), 0);
        assert_int_equal(look.orientation, o);
        is = see(&file);
        turn(&wanted, o);
        must_be_near(&is, &wanted, 0, 0);
        wsl_image_free(&wanted);
        wsl_image_free(&is);
        png = encode_png(&plain, NULL, 0, o);
        is = see(&png);
        wanted = image_decode(png.data, png.size, 0); /* not turned without being asked */
        turn(&wanted, o);
        must_be_near(&is, &wanted, 0, 0);
        wsl_image_free(&wanted);
        wsl_image_free(&is);
        wsl_buf_free(&png);
        wsl_buf_free(&file);
    }
    wsl_buf_free(&jpeg);
    wsl_image_free(&plain);
}

static void odd_exif_is_no_fault(void **state)
{
    uint8_t bytes[64] = "II*\0\x08\0\0\0\xff\xff";

    (void)state;
    assert_int_equal(wsl_exif_orientation(bytes, 0), 1);
    assert_int_equal(wsl_exif_orientation(bytes, sizeof bytes), 1);
    memcpy(bytes, "II*\0\xff\xff\xff\xff", 8);
    assert_int_equal(wsl_exif_orientation(bytes, sizeof bytes), 1);
    memcpy(bytes, "MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x09", 20);
    assert_int_equal(wsl_exif_orientation(bytes, 20), 1);
    bytes[19] = 6;
    assert_int_equal(wsl_exif_orientation(bytes, 20), 6);
    assert_int_equal(wsl_exif_orientation(bytes, 19), 1);
}

/* ---- colour ---- */

static struct wsl_buf save_profile(cmsHPROFILE profile)
{
    struct wsl_buf out = {0};
    cmsUInt32Number size = 0;

    assert_true(cmsSaveProfileToMem(profile, NULL, &size));
    assert_int_equal(wsl_buf_reserve(&out, size), 0);
    assert_true(cmsSaveProfileToMem(profile, out.data, &size));
    out.size = size;
    cmsCloseProfile(profile);
    return out;
}

/* Adobe RGB (1998): its primaries, D65, gamma 563/256. */
static struct wsl_buf adobe_profile(void)
{
    cmsCIExyY white = {0.3127, 0.3290, 1};
    cmsCIExyYTRIPLE primaries = {{0.64, 0.33, 1}, {0.21, 0.71, 1}, {0.15, 0.06, 1}};
    cmsToneCurve *curve = cmsBuildGamma(NULL, 563 / 256.0);
    cmsToneCurve *curves[3] = {curve, curve, curve};
    struct wsl_buf out = save_profile(cmsCreateRGBProfile(&white, &primaries, curves));

    cmsFreeToneCurve(curve);
    return out;
}

static double to_linear(double v)
{
    return v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
}

/* The same colours in Adobe RGB's numbers, by the two standards' matrices (IEC 61966-2-1; Adobe RGB
 * (1998), 4.3.6.2). */
static void to_adobe(struct wsl_image *image)
{
    static const double to_xyz[3][3] = {{0.4124564, 0.3575761, 0.1804375},
                                        {0.2126729, 0.7151522, 0.0721750},
                                        {0.0193339, 0.1191920, 0.9503041}};
    static const double from_xyz[3][3] = {{2.0413690, -0.5649464, -0.3446944},
                                          {-0.9692660, 1.8760108, 0.0415560},
                                          {0.0134474, -0.1183897, 1.0154096}};

    for (int i = 0; i < image->width * image->height; i++) {
        uint8_t *p = image->pixels + 3 * i;
        double xyz[3] = {0}, out;

        for (int r = 0; r < 3; r++)
            for (int c = 0; c < 3; c++)
                xyz[r] += to_xyz[r][c] * to_linear(p[c] / 255.0);
        for (int r = 0; r < 3; r++) {
            out = from_xyz[r][0] * xyz[0] + from_xyz[r][1] * xyz[1] + from_xyz[r][2] * xyz[2];
            p[r] = (uint8_t)lrint(255 * pow(fmin(1, fmax(0, out)), 256 / 563.0));
        }
    }
}

static void png_bytes(png_structp png, png_bytep bytes, size_t size)
{
    wsl_buf_add(png_get_io_ptr(png), bytes, size);
}

static struct wsl_buf encode_png(const struct wsl_image *image, const struct wsl_buf *profile,
                                 double gamma, int orientation)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    struct wsl_buf out = {0}, exif = {0};

    png_set_write_fn(png, &out, png_bytes, NULL);
    png_set_IHDR(png, info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
                 PNG_FILTER_TYPE_BASE);
    if (profile)
        png_set_iCCP(png, info, "test", PNG_COMPRESSION_TYPE_BASE, profile->data,
                     (png_uint_32)profile->size);
    if (gamma > 0)
        png_set_gAMA(png, info, gamma);
    if (orientation > 0) {
        add_exif(&exif, orientation, orientation % 2 == 0);
        png_set_eXIf_1(png, info, (png_uint_32)exif.size, exif.data);
    }
    png_write_info(png, info);
    for (int y = 0; y < image->height; y++)
        png_write_row(png, image->pixels + (size_t)y * (size_t)image->width * 3);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    wsl_buf_free(&exif);
    return out;
}

/* As they are, at quality 100 and full colour. */
static struct wsl_buf encode_jpeg(const uint8_t *pixels, int width, int height, int components,
                                  const struct wsl_buf *profile)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr manager;
    struct wsl_buf out = {0};
    unsigned char *bytes = NULL;
    unsigned long size = 0;

    c.err = jpeg_std_error(&manager);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &size);
    c.image_width = (JDIMENSION)width;
    c.image_height = (JDIMENSION)height;
    c.input_components = components;
    c.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, 100, TRUE);
    for (int i = 0; i < components; i++)
        c.comp_info[i].h_samp_factor = c.comp_info[i].v_samp_factor = 1;
    jpeg_start_compress(&c, TRUE);
    if (profile)
        jpeg_write_icc_profile(&c, profile->data, (unsigned)profile->size);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = (JSAMPROW)pixels + (size_t)c.next_scanline * (size_t)(width * components);

        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    wsl_buf_add(&out, bytes, size);
    free(bytes);
    return out;
}

static void profiles_are_heeded(void **state)
{
    struct wsl_image plain = photograph(), adobe = photograph(), is;
    struct wsl_buf profile = adobe_profile(), file, half;

    (void)state;
    to_adobe(&adobe);
    assert_true(image_compare(plain.pixels, adobe.pixels, image_bytes_of(&plain)).most > 8);
    assert_false(wsl_profile_is_srgb(profile.data, profile.size, 3));
    file = encode_png(&adobe, &profile, 0, 0);
    is = see(&file);
    must_be_near(&is, &plain, 1, 6);
    wsl_image_free(&is);
    is = image_decode(file.data, file.size, 0);
    must_be_near(&is, &adobe, 0, 0); /* unless one asks for it */
    wsl_image_free(&is);
    wsl_buf_free(&file);
    file = encode_jpeg(adobe.pixels, adobe.width, adobe.height, 3, &profile);
    is = see(&file);
    must_be_near(&is, &plain, 1.5, 20);
    wsl_image_free(&is);
    wsl_buf_free(&file);
    /* A damaged one, or of other colours than the image, is passed over. */
    half = (struct wsl_buf){.data = profile.data, .size = profile.size / 2};
    assert_true(wsl_profile_is_srgb(half.data, half.size, 3));
    assert_true(wsl_profile_is_srgb(profile.data, profile.size, 1));
    file = encode_jpeg(adobe.pixels, adobe.width, adobe.height, 3, &half);
    is = see(&file);
    must_be_near(&is, &adobe, 1.5, 20);
    wsl_image_free(&is);
    wsl_buf_free(&file);
    wsl_buf_free(&profile);
    profile = save_profile(cmsCreate_sRGBProfile());
    assert_true(wsl_profile_is_srgb(profile.data, profile.size, 3));
    wsl_buf_free(&profile);
    wsl_image_free(&plain);
    wsl_image_free(&adobe);
}

static void large_profiles_come_in_pieces(void **state)
{
    struct wsl_image plain = photograph();
    struct wsl_buf profile = {0}, file, out = {0};

    (void)state;
    for (int i = 0; i < 150000; i++)
        wsl_buf_add(&profile, &(uint8_t){(uint8_t)(i * 7 + i / 256)}, 1);
    file = encode_jpeg(plain.pixels, plain.width, plain.height, 3, &profile);
    assert_int_equal(wsl_jpeg_profile(file.data, file.size, &out, NULL), 0);
    assert_int_equal(out.size, profile.size);
    assert_memory_equal(out.data, profile.data, out.size);
    /* Without its second piece there is none. */
    wsl_buf_clear(&out);
    for (size_t i = 0; i + 14 < file.size; i++)
        if (memcmp(file.data + i, "ICC_PROFILE\0\2", 13) == 0)
            file.data[i] = 'X';
    assert_int_equal(wsl_jpeg_profile(file.data, file.size, &out, NULL), 0);
    assert_int_equal(out.size, 0);
    wsl_buf_free(&file);
    wsl_buf_free(&out);
    wsl_buf_free(&profile);
    wsl_image_free(&plain);
}

/* Inks of a press of our own: unlike the plain rule, the square of what is not covered. */
static cmsInt32Number print(const cmsUInt16Number in[], cmsUInt16Number out[], void *context)
{
    double rgb[3];

    for (int c = 0; c < 3; c++)
        rgb[c] = pow((1 - in[c] / 65535.0) * (1 - in[3] / 65535.0), 2);
    cmsDoTransform(context, rgb, out, 1);
    return 1;
}

static struct wsl_buf press_profile(void)
{
    cmsHPROFILE srgb = cmsCreate_sRGBProfile(), lab = cmsCreateLab4Profile(NULL);
    cmsHTRANSFORM transform = cmsCreateTransform(srgb, TYPE_RGB_DBL, lab, TYPE_LabV2_16,
                                                 INTENT_PERCEPTUAL, cmsFLAGS_NOOPTIMIZE);
    cmsHPROFILE press = cmsCreateProfilePlaceholder(NULL);
    cmsPipeline *pipeline = cmsPipelineAlloc(NULL, 4, 3);
    cmsStage *cube = cmsStageAllocCLut16bit(NULL, 9, 4, 3, NULL);
    struct wsl_buf out;

    assert_true(cmsStageSampleCLut16bit(cube, print, transform, 0));
    assert_true(cmsPipelineInsertStage(pipeline, cmsAT_END, cube));
    cmsSetProfileVersion(press, 2.1);
    cmsSetDeviceClass(press, cmsSigOutputClass);
    cmsSetColorSpace(press, cmsSigCmykData);
    cmsSetPCS(press, cmsSigLabData);
    assert_true(cmsWriteTag(press, cmsSigAToB0Tag, pipeline));
    cmsPipelineFree(pipeline);
    cmsDeleteTransform(transform);
    cmsCloseProfile(srgb);
    cmsCloseProfile(lab);
    out = save_profile(press);
    return out;
}

static void inks_with_a_profile(void **state)
{
    enum { SIDE = 64 };
    struct wsl_image wanted = {malloc(SIDE * SIDE * 3), SIDE, SIDE}, is;
    uint8_t *inks = malloc(SIDE * SIDE * 4);
    struct wsl_buf profile = press_profile(), file;

    (void)state;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int at = y * SIDE + x, amounts[4] = {3 * x, 3 * y, 90, (x + y) / 2};

            for (int c = 0; c < 4; c++)
                inks[4 * at + c] = (uint8_t)(255 - amounts[c]); /* as Adobe has it */
            for (int c = 0; c < 3; c++)
                wanted.pixels[3 * at + c] = (uint8_t)lrint(
                    255 * pow((1 - amounts[c] / 255.0) * (1 - amounts[3] / 255.0), 2));
        }
    file = encode_jpeg(inks, SIDE, SIDE, 4, &profile);
    is = see(&file);
    must_be_near(&is, &wanted, 2, 12);
    wsl_image_free(&is);
    wsl_buf_free(&file);
    wsl_buf_free(&profile);
    wsl_image_free(&wanted);
    free(inks);
}

static void greys_with_a_profile(void **state)
{
    cmsCIExyY white = {0.3457, 0.3585, 1};
    cmsToneCurve *linear = cmsBuildGamma(NULL, 1);
    struct wsl_buf profile = save_profile(cmsCreateGrayProfile(&white, linear)), file;
    struct wsl_image is;
    uint8_t greys[64 * 16];

    (void)state;
    for (int i = 0; i < 64 * 16; i++)
        greys[i] = (uint8_t)(4 * (i % 64));
    file = encode_jpeg(greys, 64, 16, 1, &profile);
    is = see(&file);
    for (int x = 4; x < 64; x++) {
        double v = 4 * x / 255.0, wanted = 255 * (1.055 * pow(v, 1 / 2.4) - 0.055);

        assert_in_range(is.pixels[3 * x], (int)wanted - 4, (int)wanted + 4);
    }
    wsl_image_free(&is);
    wsl_buf_free(&file);
    wsl_buf_free(&profile);
    cmsFreeToneCurve(linear);
}

/* Numbers that are light itself: a viewer makes them brighter. sRGB's gamma changes nothing. */
static void gamma_is_heeded(void **state)
{
    struct wsl_image plain = photograph(), linear = photograph(), is;
    struct wsl_buf file;

    (void)state;
    for (size_t i = 0; i < image_bytes_of(&linear); i++)
        linear.pixels[i] = (uint8_t)lrint(255 * pow(plain.pixels[i] / 255.0, 2.2));
    file = encode_png(&linear, NULL, 1.0, 0);
    is = see(&file);
    must_be_near(&is, &plain, 1.5, 24); /* dark ones have few levels */
    wsl_image_free(&is);
    wsl_buf_free(&file);
    file = encode_png(&plain, NULL, 0.45455, 0);
    is = see(&file);
    must_be_near(&is, &plain, 0, 0);
    wsl_image_free(&is);
    wsl_buf_free(&file);
    wsl_image_free(&plain);
    wsl_image_free(&linear);
}

/* ---- animations ---- */

static void add_chunk(struct wsl_buf *out, const char *type, const uint8_t *bytes, size_t size)
{
    uint8_t head[8] = {0, 0, (uint8_t)(size >> 8), (uint8_t)size}, tail[4];
    uLong crc;

    memcpy(head + 4, type, 4);
    crc = crc32(crc32(0, head + 4, 4), bytes, (uInt)size);
    for (int i = 0; i < 4; i++)
        tail[i] = (uint8_t)(crc >> (24 - 8 * i));
    wsl_buf_add(out, head, 8);
    wsl_buf_add(out, bytes, size);
    wsl_buf_add(out, tail, 4);
}

static void the_first_of_an_animation(void **state)
{
    static const uint8_t two[8] = {0, 0, 0, 2}, frame[26] = {0};
    struct wsl_image plain = photograph(), is;
    struct wsl_buf png = encode_png(&plain, NULL, 0, 0), file = {0};

    (void)state;
    wsl_buf_add(&file, png.data, 33); /* the signature and IHDR */
    add_chunk(&file, "acTL", two, 8);
    add_chunk(&file, "fcTL", frame, 26);
    wsl_buf_add(&file, png.data + 33, png.size - 33 - 12);
    add_chunk(&file, "fcTL", frame, 26);
    add_chunk(&file, "fdAT", frame, 20);
    wsl_buf_add(&file, png.data + png.size - 12, 12); /* IEND */
    is = see(&file);
    must_be_near(&is, &plain, 0, 0);
    wsl_image_free(&is);
    wsl_image_free(&plain);
    wsl_buf_free(&png);
    wsl_buf_free(&file);
}

/* ---- looking and coding anew ---- */

static const char *const jpegs[] = {"colour.jpg", "progressive.jpg", "grey-jpeg.jpg",
                                    "full-chroma.jpg", "cmyk.jpg"};
enum { JPEGS = sizeof jpegs / sizeof jpegs[0] };

static void looking_agrees_with_libjpeg(void **state)
{
    static const int components[JPEGS] = {3, 3, 1, 3, 4};

    (void)state;
    for (int i = 0; i < JPEGS; i++) {
        struct wsl_buf file = image_read_data(jpegs[i]), other;
        struct wsl_jpeg_header look, again;
        struct wsl_err err;
        int width, height;

        assert_int_equal(wsl_jpeg_header(file.data, file.size, &look, NULL), 0);
        assert_int_equal(wsl_image_size(file.data, file.size, &width, &height, NULL), 0);
        assert_int_equal(look.width, width);
        assert_int_equal(look.height, height);
        assert_int_equal(look.components, components[i]);
        assert_int_equal(look.progressive, i == 1);
        /* Other application data do not make it another image; another byte does. */
        other = jpeg_with_exif(&file, 6, true);
        assert_int_equal(wsl_jpeg_header(other.data, other.size, &again, NULL), 0);
        assert_true(again.hash == look.hash);
        other.data[other.size - 20] ^= 1;
        if (wsl_jpeg_header(other.data, other.size, &again, NULL) == 0)
            assert_true(again.hash != look.hash);
        /* Cut anywhere it is not whole, and the place is in the file. */
        for (size_t n = 2; n < file.size; n += 1 + n / 40) {
            size_t at = 0;

            assert_true(wsl_jpeg_header(file.data, n, &again, &err) < 0);
            if (sscanf(err.text, "bad JPEG at byte %zu", &at) == 1)
                assert_in_range(at, 0, n);
            else
                assert_true(n < 4);
        }
        wsl_buf_free(&file);
        wsl_buf_free(&other);
    }
}

struct coefficients {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr manager;
    jvirt_barray_ptr *arrays;
};

static void read_coefficients(struct coefficients *c, const struct wsl_buf *file)
{
    c->d.err = jpeg_std_error(&c->manager);
    jpeg_create_decompress(&c->d);
    jpeg_mem_src(&c->d, file->data, file->size);
    jpeg_read_header(&c->d, TRUE);
    c->arrays = jpeg_read_coefficients(&c->d);
}

static void must_have_equal_coefficients(const struct wsl_buf *one, const struct wsl_buf *other)
{
    struct coefficients a, b;

    read_coefficients(&a, one);
    read_coefficients(&b, other);
    assert_int_equal(a.d.num_components, b.d.num_components);
    assert_int_equal(b.d.restart_interval, b.d.MCUs_per_row);
    assert_false(b.d.progressive_mode);
    for (int c = 0; c < a.d.num_components; c++) {
        const jpeg_component_info *x = &a.d.comp_info[c], *y = &b.d.comp_info[c];

        assert_int_equal(x->width_in_blocks, y->width_in_blocks);
        assert_int_equal(x->height_in_blocks, y->height_in_blocks);
        assert_memory_equal(x->quant_table->quantval, y->quant_table->quantval,
                            sizeof x->quant_table->quantval);
        for (JDIMENSION row = 0; row < x->height_in_blocks; row++) {
            JBLOCKARRAY p =
                a.d.mem->access_virt_barray((j_common_ptr)&a.d, a.arrays[c], row, 1, FALSE);
            JBLOCKARRAY q =
                b.d.mem->access_virt_barray((j_common_ptr)&b.d, b.arrays[c], row, 1, FALSE);

            assert_memory_equal(p[0], q[0], x->width_in_blocks * sizeof(JBLOCK));
        }
    }
    jpeg_destroy_decompress(&a.d);
    jpeg_destroy_decompress(&b.d);
}

static void coding_anew_loses_nothing(void **state)
{
    struct wsl_image photo = photograph();

    (void)state;
    for (int i = 0; i <= JPEGS; i++) {
        struct wsl_buf file = i < JPEGS ? image_read_data(jpegs[i]) : image_encode(&photo, 92);
        struct wsl_buf again = {0}, cut = {0};
        struct wsl_image a, b;
        struct wsl_jpeg_header look;
        struct wsl_err err;

        if (wsl_jpeg_transcode(file.data, file.size, &again, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(wsl_jpeg_header(again.data, again.size, &look, NULL), 0);
        assert_false(look.progressive);
        must_have_equal_coefficients(&file, &again);
        a = image_decode(file.data, file.size, 0);
        b = image_decode(again.data, again.size, 0);
        must_be_near(&a, &b, 0, 0);
        wsl_image_free(&a);
        wsl_image_free(&b);
        assert_true(wsl_jpeg_transcode(file.data, file.size / 2, &cut, &err) < 0);
        assert_int_equal(cut.size, 0);
        wsl_buf_free(&file);
        wsl_buf_free(&again);
    }
    wsl_image_free(&photo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_are_turned),
        cmocka_unit_test(odd_exif_is_no_fault),
        cmocka_unit_test(profiles_are_heeded),
        cmocka_unit_test(large_profiles_come_in_pieces),
        cmocka_unit_test(inks_with_a_profile),
        cmocka_unit_test(greys_with_a_profile),
        cmocka_unit_test(gamma_is_heeded),
        cmocka_unit_test(the_first_of_an_animation),
        cmocka_unit_test(looking_agrees_with_libjpeg),
        cmocka_unit_test(coding_anew_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
