/* Runs a model that `bunjae compile` wrote.
 *
 *     example MODEL              runs it once on numbers of its own and prints the outputs
 *     example MODEL PICTURE...   says what is on the pictures
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bunjae.h"

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, bunjae_last_error());
    return 1;
}

/* The three likeliest classes of each picture. */
static int classify(const BunjaeModel *model, char **pictures, int count) {
    BunjaeClassifier *classifier = bunjae_classifier_create(model, 1);
    if (classifier == NULL) return failed("no classifier");
    BunjaeClass best[3];
    size_t shown = bunjae_classifier_classes(classifier);
    if (shown > 3) shown = 3;
    int status = 0;
    for (int at = 0; at < count; at++) {
        if (bunjae_classify_file(classifier, pictures[at], best, shown) != BUNJAE_STATUS_OK) {
            status = failed("no answer");
            continue;
        }
        printf("%s:", pictures[at]);
        for (size_t rank = 0; rank < shown; rank++) {
            const char *label = bunjae_class_label(classifier, best[rank].index);
            printf(" %s %.1f %%%s", label, 100 * best[rank].probability,
                   rank + 1 < shown ? ";" : "\n");
        }
    }
    bunjae_classifier_free(classifier);
    return status;
}

static void describe(const char *what, const BunjaeTensor *tensor) {
    printf("%s %s:", what, tensor->name);
    for (size_t axis = 0; axis < tensor->rank; axis++) printf(" %zu", tensor->shape[axis]);
    printf("\n");
}

/* One run on the numbers 0, 1/64, 2/64, ... 63/64, 0, ... */
static int run(const BunjaeModel *model) {
    BunjaeSession *session = bunjae_session_create(model, 0, 1);
    if (session == NULL) return failed("no session");
    BunjaeTensor in, out;
    if (bunjae_input_count(session) != 1 || bunjae_output_count(session) != 1 ||
        bunjae_input(session, 0, &in) != BUNJAE_STATUS_OK ||
        bunjae_output(session, 0, &out) != BUNJAE_STATUS_OK) {
        fprintf(stderr, "this example takes models with one input and one output\n");
        return 1;
    }
    if (in.dtype != BUNJAE_DTYPE_F32 || out.dtype != BUNJAE_DTYPE_F32) {
        fprintf(stderr, "this example takes models of floats\n");
        return 1;
    }
    describe("input", &in);
    describe("output", &out);
    float *input = malloc(in.bytes), *output = malloc(out.bytes);
    if (input == NULL || output == NULL) return 1;
    for (size_t at = 0; at < in.elements; at++) input[at] = (float)(at % 64) / 64;
    BunjaeView view = {input, in.bytes};
    BunjaeBuffer buffer = {output, out.bytes};
    int status = 0;
    if (bunjae_run(session, &view, 1, &buffer, 1) != BUNJAE_STATUS_OK) {
        status = failed("no result");
    } else {
        /* Nine digits tell any two floats apart. */
        for (size_t at = 0; at < out.elements; at++) printf("%.9g\n", output[at]);
    }
    free(input);
    free(output);
    bunjae_session_free(session);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: example MODEL [PICTURE...]\nbunjae %s\n", bunjae_version());
        return 2;
    }
    BunjaeModel *model = bunjae_open(argv[1]);
    if (model == NULL) return failed(argv[1]);
    int status = argc > 2 ? classify(model, argv + 2, argc - 2) : run(model);
    bunjae_model_free(model);
    return status;
}
