/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints cuDNN's description of the GPU as JSON. A machine without a GPU can plan convolutions for
 * this one from it. Exit status 77 without a GPU.
 * With --versions only "cuda 13.0 driver 12.4": what this is built for, and what the installed
 * driver supports (0.0 without a driver).
 */
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check(cudnnStatus_t status, const char *call)
{
    if (status == CUDNN_STATUS_SUCCESS)
        return 0;
    fprintf(stderr, "deviceprop: %s: %s\n", call, cudnnGetErrorString(status));
    return status == CUDNN_STATUS_NOT_INITIALIZED ? 77 : 1;
}

static int print(cudnnBackendDescriptor_t properties)
{
    int64_t size = 0, count = 0;
    char *text;
    int r = check(cudnnBackendGetAttribute(properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                           CUDNN_TYPE_CHAR, 0, &size, NULL),
                  "size of the JSON");

    if (r != 0)
        return r;
    text = calloc(1, (size_t)size + 1);
    if (!text)
        return 1;
    r = check(cudnnBackendGetAttribute(properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                       CUDNN_TYPE_CHAR, size, &count, text),
              "JSON");
    if (r == 0)
        puts(text);
    free(text);
    return r;
}

/* CUDA counts versions as 1000 * major + 10 * minor. */
static int print_versions(void)
{
    int built = 0, driver = 0;

    if (cudaRuntimeGetVersion(&built) != cudaSuccess ||
        cudaDriverGetVersion(&driver) != cudaSuccess)
        return 1;
    printf("cuda %d.%d driver %d.%d\n", built / 1000, built % 1000 / 10, driver / 1000,
           driver % 1000 / 10);
    return 0;
}

int main(int argc, char **argv)
{
    cudnnBackendDescriptor_t properties = NULL;
    cudnnHandle_t handle = NULL;
    int32_t device = 0;
    int r;

    if (argc == 2 && strcmp(argv[1], "--versions") == 0)
        return print_versions();
    r = check(cudnnCreate(&handle), "cudnnCreate");
    if (r == 0)
        r = check(cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &properties),
                  "cudnnBackendCreateDescriptor");
    if (r == 0)
        r = check(cudnnBackendSetAttribute(properties, CUDNN_ATTR_DEVICEPROP_DEVICE_ID,
                                           CUDNN_TYPE_INT32, 1, &device),
                  "cudnnBackendSetAttribute");
    if (r == 0)
        r = check(cudnnBackendFinalize(properties), "cudnnBackendFinalize");
    if (r == 0)
        r = print(properties);
    if (properties)
        cudnnBackendDestroyDescriptor(properties);
    if (handle)
        cudnnDestroy(handle);
    return r;
}
