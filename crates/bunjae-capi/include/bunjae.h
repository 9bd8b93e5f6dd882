/* Bunjae: models that `bunjae compile` wrote, for programs in C.
 *
 * Generated from the crate bunjae-capi; `BUNJAE_BLESS=1 cargo test -p bunjae-capi` rewrites it.
 *
 * A function that fails returns NULL or BUNJAE_STATUS_ERROR, and bunjae_last_error() says why. Null
 * pointers, wrong lengths and wrong indices are errors. Link with libbunjae_capi and, where that is
 * the static library, with -lpthread -ldl -lm.
 */

#ifndef BUNJAE_H
#define BUNJAE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/**
 * How a function came out.
 */
typedef enum BunjaeStatus {
  /**
   * Done.
   */
  BUNJAE_STATUS_OK = 0,
  /**
   * Not done; bunjae_last_error says why.
   */
  BUNJAE_STATUS_ERROR = 1,
} BunjaeStatus;

/**
 * A type of elements.
 */
typedef enum BunjaeDtype {
  /**
   * float
   */
  BUNJAE_DTYPE_F32 = 0,
  /**
   * double
   */
  BUNJAE_DTYPE_F64 = 1,
  /**
   * int8_t
   */
  BUNJAE_DTYPE_I8 = 2,
  /**
   * uint8_t
   */
  BUNJAE_DTYPE_U8 = 3,
  /**
   * int32_t
   */
  BUNJAE_DTYPE_I32 = 4,
  /**
   * int64_t
   */
  BUNJAE_DTYPE_I64 = 5,
} BunjaeDtype;

/**
 * A model that takes picture files. One thread at a time may use a classifier.
 */
typedef struct BunjaeClassifier BunjaeClassifier;

/**
 * A compiled model. Any number of threads may use one at the same time.
 */
typedef struct BunjaeModel BunjaeModel;

/**
 * The memory and the threads to run a model with. One thread at a time may use a session.
 */
typedef struct BunjaeSession BunjaeSession;

/**
 * A class and how likely it is.
 */
typedef struct BunjaeClass {
  /**
   * The index of the class, from 0.
   */
  size_t index;
  /**
   * Between 0 and 1.
   */
  float probability;
} BunjaeClass;

/**
 * An input or output of a session. Name and shape last as long as the session.
 */
typedef struct BunjaeTensor {
  /**
   * Its name in UTF-8.
   */
  const char *name;
  /**
   * The type of its elements.
   */
  enum BunjaeDtype dtype;
  /**
   * The number of dimensions.
   */
  size_t rank;
  /**
   * The dimensions.
   */
  const size_t *shape;
  /**
   * The number of elements.
   */
  size_t elements;
  /**
   * The number of bytes.
   */
  size_t bytes;
} BunjaeTensor;

/**
 * Elements to read, in row-major order.
 */
typedef struct BunjaeView {
  /**
   * Aligned to the type of the elements.
   */
  const void *data;
  /**
   * The number of bytes.
   */
  size_t bytes;
} BunjaeView;

/**
 * Memory for elements, in row-major order.
 */
typedef struct BunjaeBuffer {
  /**
   * Aligned to the type of the elements.
   */
  void *data;
  /**
   * The number of bytes.
   */
  size_t bytes;
} BunjaeBuffer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of this library, such as "0.1.0". Lasts for ever.
 */
const char *bunjae_version(void);

/**
 * Makes a classifier of a model that knows how pictures become its input (`bunjae annotate`). Null
 * on failure; freed with bunjae_classifier_free.
 *
 * # Safety
 * `model` is null or was returned by bunjae_open or bunjae_open_memory.
 */
struct BunjaeClassifier *bunjae_classifier_create(const struct BunjaeModel *model, size_t threads);

/**
 * Frees a classifier; null does nothing.
 *
 * # Safety
 * `classifier` is null or was returned by bunjae_classifier_create, and is not used any more.
 */
void bunjae_classifier_free(struct BunjaeClassifier *classifier);

/**
 * The number of classes; 0 where `classifier` is null.
 *
 * # Safety
 * `classifier` is null or was returned by bunjae_classifier_create.
 */
size_t bunjae_classifier_classes(const struct BunjaeClassifier *classifier);

/**
 * The name of a class in UTF-8, empty where the model has no labels; null where there is no such
 * class. Lasts as long as the classifier.
 *
 * # Safety
 * `classifier` is null or was returned by bunjae_classifier_create.
 */
const char *bunjae_class_label(const struct BunjaeClassifier *classifier, size_t index);

/**
 * Decodes a picture (JPEG, PNG, WebP, BMP or GIF) and writes its likeliest classes, the likeliest
 * first. `count` is the length of `classes`, and at most the number of classes.
 *
 * # Safety
 * `classifier` is null or was returned by bunjae_classifier_create, and no other thread uses it;
 * `path` is null or a text in UTF-8 that ends with a zero; `classes` is null or leads to `count`
 * structs.
 */
enum BunjaeStatus bunjae_classify_file(struct BunjaeClassifier *classifier,
                                       const char *path,
                                       struct BunjaeClass *classes,
                                       size_t count);

/**
 * Why the last function that failed on this thread did so; empty where none has failed. Lasts until
 * another function fails on this thread.
 */
const char *bunjae_last_error(void);

/**
 * Opens a file that `bunjae compile` wrote. Null on failure; freed with bunjae_model_free.
 *
 * # Safety
 * `path` is null or a text in UTF-8 that ends with a zero.
 */
struct BunjaeModel *bunjae_open(const char *path);

/**
 * Opens a model from the `length` bytes of a file that `bunjae compile` wrote; they are not needed
 * any more when this returns. Null on failure; freed with bunjae_model_free.
 *
 * # Safety
 * `bytes` is null or leads to `length` bytes.
 */
struct BunjaeModel *bunjae_open_memory(const void *bytes, size_t length);

/**
 * Frees a model; null does nothing. Its sessions and classifiers stay as they are.
 *
 * # Safety
 * `model` is null or was returned by bunjae_open or bunjae_open_memory, and is not used any more.
 */
void bunjae_model_free(struct BunjaeModel *model);

/**
 * Makes a session that runs `batch` pictures at a time on `threads` threads, the caller's included.
 * Where the model was compiled for one batch size, `batch` has to be that, or 0. Null on failure;
 * freed with bunjae_session_free.
 *
 * # Safety
 * `model` is null or was returned by bunjae_open or bunjae_open_memory.
 */
struct BunjaeSession *bunjae_session_create(const struct BunjaeModel *model,
                                            size_t batch,
                                            size_t threads);

/**
 * Frees a session; null does nothing.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create, and is not used any more.
 */
void bunjae_session_free(struct BunjaeSession *session);

/**
 * The number of inputs; 0 where `session` is null.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create.
 */
size_t bunjae_input_count(const struct BunjaeSession *session);

/**
 * The number of outputs; 0 where `session` is null.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create.
 */
size_t bunjae_output_count(const struct BunjaeSession *session);

/**
 * Tells about an input, from 0.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create; `tensor` is null or leads to a struct
 * that may be written.
 */
enum BunjaeStatus bunjae_input(const struct BunjaeSession *session,
                               size_t index,
                               struct BunjaeTensor *tensor);

/**
 * Tells about an output, from 0.
 *
 * # Safety
 * As for bunjae_input.
 */
enum BunjaeStatus bunjae_output(const struct BunjaeSession *session,
                                size_t index,
                                struct BunjaeTensor *tensor);

/**
 * Computes the outputs from the inputs. There is a view for each input and a buffer for each output,
 * in their order, of the right number of bytes. Allocates nothing for the computation itself.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create, and no other thread uses it. `inputs`
 * and `outputs` are null or lead to as many structs, whose data are null or as long as they say; no
 * buffer overlaps another or a view.
 */
enum BunjaeStatus bunjae_run(struct BunjaeSession *session,
                             const struct BunjaeView *inputs,
                             size_t input_count,
                             const struct BunjaeBuffer *outputs,
                             size_t output_count);

/**
 * Why the last function that failed on this thread did so; empty where none has failed. Lasts until
 * another function fails on this thread.
 */
const char *bunjae_last_error(void);

/**
 * Opens a file that `bunjae compile` wrote. Null on failure; freed with bunjae_model_free.
 *
 * # Safety
 * `path` is null or a text in UTF-8 that ends with a zero.
 */
struct BunjaeModel *bunjae_open(const char *path);

/**
 * Opens a model from the `length` bytes of a file that `bunjae compile` wrote; they are not needed
 * any more when this returns. Null on failure; freed with bunjae_model_free.
 *
 * # Safety
 * `bytes` is null or leads to `length` bytes.
 */
struct BunjaeModel *bunjae_open_memory(const void *bytes, size_t length);

/**
 * Frees a model; null does nothing. Its sessions and classifiers stay as they are.
 *
 * # Safety
 * `model` is null or was returned by bunjae_open or bunjae_open_memory, and is not used any more.
 */
void bunjae_model_free(struct BunjaeModel *model);

/**
 * Makes a session that runs `batch` pictures at a time on `threads` threads, the caller's included.
 * Where the model was compiled for one batch size, `batch` has to be that, or 0. Null on failure;
 * freed with bunjae_session_free.
 *
 * # Safety
 * `model` is null or was returned by bunjae_open or bunjae_open_memory.
 */
struct BunjaeSession *bunjae_session_create(const struct BunjaeModel *model,
                                            size_t batch,
                                            size_t threads);

/**
 * Frees a session; null does nothing.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create, and is not used any more.
 */
void bunjae_session_free(struct BunjaeSession *session);

/**
 * The number of inputs; 0 where `session` is null.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create.
 */
size_t bunjae_input_count(const struct BunjaeSession *session);

/**
 * The number of outputs; 0 where `session` is null.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create.
 */
size_t bunjae_output_count(const struct BunjaeSession *session);

/**
 * Tells about an input, from 0.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create; `tensor` is null or leads to a struct
 * that may be written.
 */
enum BunjaeStatus bunjae_input(const struct BunjaeSession *session,
                               size_t index,
                               struct BunjaeTensor *tensor);

/**
 * Tells about an output, from 0.
 *
 * # Safety
 * As for bunjae_input.
 */
enum BunjaeStatus bunjae_output(const struct BunjaeSession *session,
                                size_t index,
                                struct BunjaeTensor *tensor);

/**
 * Computes the outputs from the inputs. There is a view for each input and a buffer for each output,
 * in their order, of the right number of bytes. Allocates nothing for the computation itself.
 *
 * # Safety
 * `session` is null or was returned by bunjae_session_create, and no other thread uses it. `inputs`
 * and `outputs` are null or lead to as many structs, whose data are null or as long as they say; no
 * buffer overlaps another or a view.
 */
enum BunjaeStatus bunjae_run(struct BunjaeSession *session,
                             const struct BunjaeView *inputs,
                             size_t input_count,
                             const struct BunjaeBuffer *outputs,
                             size_t output_count);

/**
 * Makes a classifier of a model that knows how pictures become its input (`bunjae annotate`). Null
 * on failure; freed with bunjae_classifier_free.
 *
 * # Safety
 * `model` is null or was returned by bunjae_open or bunjae_open_memory.
 */
struct BunjaeClassifier *bunjae_classifier_create(const struct BunjaeModel *model, size_t threads);

/**
 * Frees a classifier; null does nothing.
 *
 * # Safety
 * `classifier` is null or was returned by bunjae_classifier_create, and is not used any more.
 */
void bunjae_classifier_free(struct BunjaeClassifier *classifier);

/**
 * The number of classes; 0 where `classifier` is null.
 *
 * # Safety
 * `classifier` is null or was returned by bunjae_classifier_create.
 */
size_t bunjae_classifier_classes(const struct BunjaeClassifier *classifier);

/**
 * The name of a class in UTF-8, empty where the model has no labels; null where there is no such
 * class. Lasts as long as the classifier.
 *
 * # Safety
 * `classifier` is null or was returned by bunjae_classifier_create.
 */
const char *bunjae_class_label(const struct BunjaeClassifier *classifier, size_t index);

/**
 * Decodes a picture (JPEG, PNG, WebP, BMP or GIF) and writes its likeliest classes, the likeliest
 * first. `count` is the length of `classes`, and at most the number of classes.
 *
 * # Safety
 * `classifier` is null or was returned by bunjae_classifier_create, and no other thread uses it;
 * `path` is null or a text in UTF-8 that ends with a zero; `classes` is null or leads to `count`
 * structs.
 */
enum BunjaeStatus bunjae_classify_file(struct BunjaeClassifier *classifier,
                                       const char *path,
                                       struct BunjaeClass *classes,
                                       size_t count);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BUNJAE_H */
