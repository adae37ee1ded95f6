/* The entropy coders of codecs/rans.py and codecs/neighbours.py in C: the same bytes, faster.

   Callers are codecs/native.py and the tests. Everything crosses as Python bytes, so each function
   knows the size of what it reads; compiled tables are capsules that only `prepare` and
   `prepare_neighbours` make. The module uses the stable ABI of Python 3.10. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include "_neighbours.h"
#include "_streams.h"

#include <stdlib.h>

#define CAPSULE "splitnet.codecs.tables"
#define NEIGHBOURS "splitnet.codecs.neighbours"

static void free_tables(PyObject *capsule) { free(PyCapsule_GetPointer(capsule, CAPSULE)); }

static PyObject *prepare(PyObject *module, PyObject *args)
{
    const char *frequencies, *costs;
    Py_ssize_t size, cost_size;
    int precision;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#y#i", &frequencies, &size, &costs, &cost_size, &precision))
        return NULL;
    const Py_ssize_t count = size / (2 * COLUMNS);
    if (size % (2 * COLUMNS) || cost_size != count * 512 || count < 1 || count > MAX_TABLES ||
        precision < 1 || precision > MAX_PRECISION) {
        PyErr_SetString(PyExc_ValueError, "sizes do not fit each other");
        return NULL;
    }
    Tables *tables = calloc(1, sizeof(Tables) + (size_t)count * sizeof(Table));
    if (!tables)
        return PyErr_NoMemory();
    tables->precision = precision;
    tables->count = (int)count;
    for (Py_ssize_t t = 0; t < count; t++)
        if (!fill_table(&tables->tables[t], (const uint8_t *)frequencies + t * 2 * COLUMNS,
                        (const uint8_t *)costs + t * 512, precision)) {
            free(tables);
            PyErr_SetString(PyExc_ValueError, "frequencies do not add up");
            return NULL;
        }
    PyObject *capsule = PyCapsule_New(tables, CAPSULE, free_tables);
    if (!capsule)
        free(tables);
    return capsule;
}

/* Sets a ValueError and returns 0 unless `which` is None or names a table for each symbol. */
static int check_which(PyObject *object, size_t count, const Tables *tables, const uint8_t **which)
{
    char *data;
    Py_ssize_t size;
    *which = NULL;
    if (object == Py_None)
        return 1;
    if (PyBytes_AsStringAndSize(object, &data, &size) < 0)
        return 0;
    uint8_t largest = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        largest = (uint8_t)data[i] > largest ? (uint8_t)data[i] : largest;
    if ((size_t)size != count || largest >= tables->count) {
        PyErr_SetString(PyExc_ValueError, "a symbol has no table");
        return 0;
    }
    *which = (const uint8_t *)data;
    return 1;
}

static int check_lanes(int lanes)
{
    if (lanes == 1 || lanes == 8 || lanes == MAX_LANES)
        return 1;
    PyErr_SetString(PyExc_ValueError, "lanes must be 1, 8 or 128");
    return 0;
}

/* measure(symbols, which, tables): what the symbols take, in 1/256 bit */
static PyObject *measure(PyObject *module, PyObject *args)
{
    const char *symbols;
    Py_ssize_t size;
    PyObject *choice, *capsule;
    const uint8_t *which;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#OO", &symbols, &size, &choice, &capsule))
        return NULL;
    const Tables *tables = PyCapsule_GetPointer(capsule, CAPSULE);
    if (!tables || !check_which(choice, (size_t)size, tables, &which))
        return NULL;
    uint64_t sums[4] = {0, 0, 0, 0};
    for (Py_ssize_t i = 0; i < size; i++)
        sums[i & 3] += tables->tables[which ? which[i] : 0].costs[(uint8_t)symbols[i]];
    return PyLong_FromUnsignedLongLong(sums[0] + sums[1] + sums[2] + sums[3]);
}

/* encode(symbols, which, tables, lanes): the stream */
static PyObject *encode(PyObject *module, PyObject *args)
{
    const char *data;
    Py_ssize_t size;
    PyObject *choice, *capsule, *stream = NULL;
    const uint8_t *which;
    uint32_t states[MAX_LANES];
    int lanes;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#OOi", &data, &size, &choice, &capsule, &lanes))
        return NULL;
    const Tables *tables = PyCapsule_GetPointer(capsule, CAPSULE);
    const size_t count = (size_t)size;
    if (!tables || !check_which(choice, count, tables, &which) || !check_lanes(lanes))
        return NULL;
    /* Words from the end of the first part down, and one beyond; behind them escaped symbols. */
    const size_t middle = 4 * MAX_LANES + 2 * count + 2;
    uint8_t *buffer = malloc(middle + count);
    if (!buffer)
        return PyErr_NoMemory();
    Writer writer = {buffer + middle, buffer + middle};
    Py_BEGIN_ALLOW_THREADS
    for (int lane = 0; lane < lanes; lane++)
        states[lane] = LOWEST;
    encode_stream(states, lanes, (const uint8_t *)data, which, tables, count, &writer);
    for (int lane = lanes - 1; lane >= 0; lane--) {
        writer.word -= 4;
        put16(writer.word, states[lane]);
        put16(writer.word + 2, states[lane] >> 16);
    }
    Py_END_ALLOW_THREADS
    stream = PyBytes_FromStringAndSize((const char *)writer.word, writer.escaped - writer.word);
    free(buffer);
    return stream;
}

/* decode(stream, count, which, tables, lanes): the symbols, None if the stream is damaged */
static PyObject *decode(PyObject *module, PyObject *args)
{
    const char *data;
    Py_ssize_t size, count;
    PyObject *choice, *capsule;
    const uint8_t *which;
    uint32_t states[MAX_LANES];
    int lanes, good = 1;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#nOOi", &data, &size, &count, &choice, &capsule, &lanes))
        return NULL;
    const Tables *tables = PyCapsule_GetPointer(capsule, CAPSULE);
    if (!tables || count < 0 || !check_which(choice, (size_t)count, tables, &which) ||
        !check_lanes(lanes)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "the number of symbols is negative");
        return NULL;
    }
    if (size < 4 * lanes)
        Py_RETURN_NONE;
    const uint8_t *head = (const uint8_t *)data;
    for (int lane = 0; lane < lanes; lane++) {
        states[lane] = get16(head + 4 * lane) | get16(head + 4 * lane + 2) << 16;
        good &= states[lane] >= LOWEST;
    }
    if (!good)
        Py_RETURN_NONE;
    PyObject *symbols = PyBytes_FromStringAndSize(NULL, count);
    if (!symbols)
        return NULL;
    uint8_t *target = (uint8_t *)PyBytes_AsString(symbols);
    Reader reader = {head + 4 * lanes, head + size};
    Py_BEGIN_ALLOW_THREADS
    good = decode_stream(states, lanes, target, which, tables, (size_t)count, &reader);
    for (int lane = 0; lane < lanes; lane++)
        good &= states[lane] == LOWEST;
    good &= reader.word == reader.tail;
    Py_END_ALLOW_THREADS
    if (good)
        return symbols;
    Py_DECREF(symbols);
    Py_RETURN_NONE;
}

static void free_model(PyObject *capsule) { free(PyCapsule_GetPointer(capsule, NEIGHBOURS)); }

/* prepare_neighbours(records, bin_of_cell, rough, bits, earlier) */
static PyObject *prepare_neighbours(PyObject *module, PyObject *args)
{
    const char *records, *cells, *rough;
    Py_ssize_t size, cells_size, rough_size;
    int bits, earlier, good = 1;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#y#y#ii", &records, &size, &cells, &cells_size, &rough,
                          &rough_size, &bits, &earlier))
        return NULL;
    if (earlier < 0 || earlier > MOST_EARLIER || bits < 1 || bits > 8 || cells_size != CELLS ||
        rough_size < 2 || rough_size % 2 || rough_size > 2 * MOST_BINS || size < 1 ||
        size % (8 + 2 * OWN + 12 * earlier) || size > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "sizes do not fit each other");
        return NULL;
    }
    const size_t record = (size_t)(8 + 2 * OWN + 12 * earlier), channels = (size_t)size / record;
    Model *model = calloc(1, sizeof(Model) + channels * sizeof(Channel));
    if (!model)
        return PyErr_NoMemory();
    model->bits = bits;
    model->bins = (int)rough_size / 2;
    model->earlier = earlier;
    model->channels = channels;
    memcpy(model->bin_of_cell, cells, CELLS);
    for (int i = 0; i < CELLS; i++)
        good &= model->bin_of_cell[i] < model->bins;
    for (int i = 0; i < model->bins; i++)
        model->rough[i] = (uint16_t)get16((const uint8_t *)rough + 2 * i);
    for (size_t c = 0; c < channels && good; c++)
        good = fill_channel(&model->each[c], (const uint8_t *)records + c * record, earlier, c);
    PyObject *capsule = good ? PyCapsule_New(model, NEIGHBOURS, free_model) : NULL;
    if (!good)
        PyErr_SetString(PyExc_ValueError, "a number is out of its range");
    if (!capsule)
        free(model);
    return capsule;
}

/* Returns the number of symbols; 0 and a ValueError unless the shape is one of `model`. */
static size_t check_shape(const Model *model, Py_ssize_t samples, Py_ssize_t height,
                          Py_ssize_t width, Shape *shape)
{
    const size_t most = INT32_MAX;
    size_t count = model->channels;
    const Py_ssize_t sides[] = {samples, height, width};
    for (int i = 0; i < 3 && count; i++)
        count = sides[i] > 0 && (size_t)sides[i] <= most / count ? count * (size_t)sides[i] : 0;
    if (!count)
        PyErr_SetString(PyExc_ValueError, "no shape of at most 2**31 - 1 symbols");
    *shape = (Shape){(size_t)samples, model->channels, (size_t)height, (size_t)width};
    return count;
}

/* which_neighbours(symbols, samples, height, width, model, given): the table of each symbol behind
   the first `given` channels */
static PyObject *which_neighbours(PyObject *module, PyObject *args)
{
    const char *symbols;
    Py_ssize_t size, samples, height, width, given;
    PyObject *capsule;
    Shape shape;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#nnnOn", &symbols, &size, &samples, &height, &width, &capsule,
                          &given))
        return NULL;
    const Model *model = PyCapsule_GetPointer(capsule, NEIGHBOURS);
    const size_t count = model ? check_shape(model, samples, height, width, &shape) : 0;
    if (!count)
        return NULL;
    if (count != (size_t)size || given < 0 || (size_t)given >= shape.channels) {
        PyErr_SetString(PyExc_ValueError, "the symbols do not fill the shape");
        return NULL;
    }
    const Py_ssize_t coded = size - samples * given * height * width;
    PyObject *which = PyBytes_FromStringAndSize(NULL, coded);
    int32_t *sums = malloc(2 * shape.height * shape.width * sizeof(int32_t));
    uint8_t *zeros = calloc(shape.width, 1);
    if (which && sums && zeros) {
        uint8_t *target = (uint8_t *)PyBytes_AsString(which);
        Py_BEGIN_ALLOW_THREADS
        walk(model, shape, (size_t)given, (uint8_t *)symbols, target, sums, zeros, NULL, NULL, NULL);
        Py_END_ALLOW_THREADS
    } else {
        Py_CLEAR(which);
        PyErr_NoMemory();
    }
    free(sums);
    free(zeros);
    return which;
}

/* decode_neighbours(stream, samples, height, width, model, tables, known): the symbols of all
   channels, `known` being those of the first ones; None if the stream is damaged */
static PyObject *decode_neighbours(PyObject *module, PyObject *args)
{
    const char *data, *known;
    Py_ssize_t size, samples, height, width, known_size;
    PyObject *model_capsule, *capsule;
    Shape shape;
    int good = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#nnnOOy#", &data, &size, &samples, &height, &width,
                          &model_capsule, &capsule, &known, &known_size))
        return NULL;
    const Model *model = PyCapsule_GetPointer(model_capsule, NEIGHBOURS);
    const Tables *tables = model ? PyCapsule_GetPointer(capsule, CAPSULE) : NULL;
    const size_t count = tables ? check_shape(model, samples, height, width, &shape) : 0;
    if (!count)
        return NULL;
    if (tables->count != 2 * model->bins) {
        PyErr_SetString(PyExc_ValueError, "each bin must have two tables");
        return NULL;
    }
    const size_t plane = shape.samples * shape.height * shape.width;
    const size_t given = (size_t)known_size / plane;
    if (given * plane != (size_t)known_size || given >= shape.channels) {
        PyErr_SetString(PyExc_ValueError, "the known symbols do not fill channels");
        return NULL;
    }
    const uint8_t *head = (const uint8_t *)data;
    uint32_t state = size < 4 ? 0 : get16(head) | get16(head + 2) << 16;
    if (state < LOWEST)
        Py_RETURN_NONE;
    PyObject *symbols = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count);
    int32_t *sums = malloc(2 * shape.height * shape.width * sizeof(int32_t));
    uint8_t *zeros = calloc(shape.width, 1);
    if (symbols && sums && zeros) {
        uint8_t *target = (uint8_t *)PyBytes_AsString(symbols);
        Reader reader = {head + 4, head + size};
        const size_t part = (size_t)known_size / shape.samples;
        for (size_t n = 0; n < shape.samples; n++)
            memcpy(target + n * (count / shape.samples), known + n * part, part);
        Py_BEGIN_ALLOW_THREADS
        good = walk(model, shape, given, target, NULL, sums, zeros, tables, &state, &reader) &&
               state == LOWEST && reader.word == reader.tail;
        Py_END_ALLOW_THREADS
        if (!good) {
            Py_DECREF(symbols);
            symbols = Py_None;
            Py_INCREF(symbols);
        }
    } else {
        Py_CLEAR(symbols);
        PyErr_NoMemory();
    }
    free(sums);
    free(zeros);
    return symbols;
}

static PyMethodDef methods[] = {
    {"prepare", prepare, METH_VARARGS, "prepare(frequencies, costs, precision)"},
    {"measure", measure, METH_VARARGS, "measure(symbols, which, tables)"},
    {"encode", encode, METH_VARARGS, "encode(symbols, which, tables, lanes)"},
    {"decode", decode, METH_VARARGS, "decode(stream, count, which, tables, lanes)"},
    {"prepare_neighbours", prepare_neighbours, METH_VARARGS,
     "prepare_neighbours(records, bin_of_cell, rough, bits, earlier)"},
    {"which_neighbours", which_neighbours, METH_VARARGS,
     "which_neighbours(symbols, samples, height, width, model, given)"},
    {"decode_neighbours", decode_neighbours, METH_VARARGS,
     "decode_neighbours(stream, samples, height, width, model, tables, known)"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "The entropy coder in C.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
