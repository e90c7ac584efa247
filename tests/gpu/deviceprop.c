/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints cuDNN's description of the GPU as JSON. A machine without a GPU can plan convolutions for
 * this one from it. Exit status 77 without a GPU.
 */
#include <cudnn.h>

#include <stdio.h>
#include <stdlib.h>

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

int main(void)
{
    cudnnBackendDescriptor_t properties = NULL;
    cudnnHandle_t handle = NULL;
    int32_t device = 0;
    int r = check(cudnnCreate(&handle), "cudnnCreate");

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
