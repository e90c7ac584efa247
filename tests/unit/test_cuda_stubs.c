/* SPDX-License-Identifier: Apache-2.0
 *
 * cuDNN and NCCL that are not there: the stubs compiled into this program look for libraries of
 * names that nobody has.
 */
#include <cudnn.h>
#include <nccl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void without_cudnn_every_call_fails_and_says_why(void **state)
{
    cudnnBackendDescriptor_t descriptor = NULL;
    cudnnHandle_t handle = NULL;
    char why[200] = "";

    (void)state;
    assert_int_equal(cudnnGetVersion(), 0);
    assert_int_equal(cudnnCreate(&handle), CUDNN_STATUS_NOT_INITIALIZED);
    assert_int_equal(cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &descriptor),
                     CUDNN_STATUS_NOT_INITIALIZED);
    assert_null(descriptor);
    cudnnGetLastErrorString(why, sizeof why);
    assert_non_null(strstr(why, "libwsl-no-cudnn.so"));
    assert_string_equal(cudnnGetErrorString(CUDNN_STATUS_NOT_INITIALIZED), "cuDNN is not loaded");
}

static void without_nccl_every_call_fails_and_says_why(void **state)
{
    ncclUniqueId id;
    int version = 0;

    (void)state;
    assert_int_equal(ncclGetVersion(&version), ncclSystemError);
    assert_int_equal(ncclGetUniqueId(&id), ncclSystemError);
    assert_non_null(strstr(ncclGetLastError(NULL), "libwsl-no-nccl.so"));
    assert_string_equal(ncclGetErrorString(ncclSystemError), "NCCL is not loaded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_cudnn_every_call_fails_and_says_why),
        cmocka_unit_test(without_nccl_every_call_fails_and_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
