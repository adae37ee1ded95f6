/* Which table a symbol is coded with: codecs/neighbourhood.py in portable C99 on integers. That file
   explains the prediction. */

#ifndef SPLITNET_NEIGHBOURS_H
#define SPLITNET_NEIGHBOURS_H

#include "_streams.h"

#define CELLS 4096
#define MOST_BINS 128
#define MOST_EARLIER 32
#define NO_CHANNEL 0xFFFF

enum { LEFT, UP, LEFT_UP, RIGHT_UP, LEFT_LEFT, UP_UP, FIRST_ROW, FIRST_COLUMN, HEIGHT, OWN };

enum { SAME, RIGHT, BELOW, LEFT_OF, ABOVE, PLACES };

typedef struct {
    int number;
    int32_t weights[PLACES];
} Earlier;

typedef struct {
    int32_t bias, mean;
    int32_t own[OWN];
    Earlier earlier[MOST_EARLIER];
} Channel;

typedef struct {
    int bits, bins, earlier;
    size_t channels;
    uint8_t bin_of_cell[CELLS];
    uint16_t rough[MOST_BINS];
    Channel each[];
} Model;

typedef struct {
    size_t samples, channels, height, width;
} Shape;

INLINE int64_t floor_shift(int64_t value, int bits)
{
    return value >= 0 ? value >> bits : ~(~value >> bits);
}

INLINE int64_t floor_divide(int64_t value, int64_t by)
{
    return value / by - (value % by != 0 && value < 0);
}

INLINE void add_row(int32_t *sums, const uint8_t *symbols, size_t count, int32_t weight)
{
    for (size_t x = 0; x < count; x++)
        sums[x] += weight * symbols[x];
}

INLINE void add_sums(int32_t *sums, const int32_t *others, size_t count)
{
    for (size_t x = 0; x < count; x++)
        sums[x] += others[x];
}

/* Adds `mixed`, seen from one of the places around each symbol. */
static void add_place(int32_t *sums, const int32_t *mixed, int place, size_t height, size_t width)
{
    const size_t size = height * width;
    switch (place) {
    case SAME:
        add_sums(sums, mixed, size);
        break;
    case BELOW:
        add_sums(sums, mixed + width, size - width);
        break;
    case ABOVE:
        add_sums(sums + width, mixed, size - width);
        break;
    default:
        for (size_t at = 0; at < size; at += width)
            if (place == RIGHT)
                add_sums(sums + at, mixed + at + 1, width - 1);
            else
                add_sums(sums + at + 1, mixed + at, width - 1);
    }
}

/* The part of the predictions of a channel that its own symbols do not change; `mixed` has room for
   a plane. */
static void add_earlier(int32_t *sums, int32_t *mixed, const uint8_t *sample,
                        const Channel *channel, int earlier, int32_t base, size_t height,
                        size_t width)
{
    const size_t size = height * width;
    for (size_t i = 0; i < size; i++)
        sums[i] = base;
    for (size_t x = 0; x < width; x++)
        sums[x] += channel->own[FIRST_ROW];
    for (size_t at = 0; at < size; at += width)
        sums[at] += channel->own[FIRST_COLUMN];
    for (int place = 0; place < PLACES; place++) {
        memset(mixed, 0, size * sizeof(int32_t));
        for (int k = 0; k < earlier; k++) {
            const Earlier *other = &channel->earlier[k];
            if (other->number != NO_CHANNEL)
                add_row(mixed, sample + (size_t)other->number * size, size, other->weights[place]);
        }
        add_place(sums, mixed, place, height, width);
    }
}

INLINE uint32_t difference(uint32_t a, uint32_t b) { return a > b ? a - b : b - a; }

/* How far the symbols of a channel lie above their mean, all together. */
static int64_t height_above(const Channel *channel, const uint8_t *plane, size_t size)
{
    uint64_t total = 0;
    for (size_t i = 0; i < size; i++)
        total += plane[i];
    return (int64_t)(total << 8) - channel->mean * (int64_t)size;
}

/* With `which`, writes the table of each of the known symbols; else decodes the symbols. Both begin
   behind the first `given` channels, which are known in any case. Returns 0 if the stream ends
   early. `sums` has room for two planes, `zeros` for a row. */
INLINE int walk(const Model *model, Shape shape, size_t given, uint8_t *symbols, uint8_t *which,
                int32_t *sums, const uint8_t *zeros, const Tables *tables, uint32_t *state,
                Reader *reader)
{
    const size_t width = shape.width, size = shape.height * width;
    for (size_t n = 0; n < shape.samples; n++) {
        uint8_t *sample = symbols + n * shape.channels * size;
        int64_t above = 0;
        for (size_t c = 0; c < given; c++)
            above += height_above(&model->each[c], sample + c * size, size);
        for (size_t c = given; c < shape.channels; c++) {
            const Channel *channel = &model->each[c];
            const int64_t high = c ? floor_divide(above, (int64_t)(c * size)) : 0;
            const int32_t base =
                channel->bias + (int32_t)floor_shift(channel->own[HEIGHT] * high, 8);
            uint64_t total = 0;
            add_earlier(sums, sums + size, sample, channel, model->earlier, base, shape.height,
                        width);
            for (size_t y = 0; y < shape.height; y++) {
                uint8_t *row = sample + c * size + y * width;
                int32_t *sum = sums + y * width;
                const uint8_t *up = y > 0 ? row - width : zeros;
                const uint8_t *up_up = y > 1 ? row - 2 * width : zeros;
                uint32_t left = 0, left_left = 0, left_up = 0;
                add_row(sum, up, width, channel->own[UP]);
                add_row(sum, up_up, width, channel->own[UP_UP]);
                add_row(sum + 1, up, width - 1, channel->own[LEFT_UP]);
                add_row(sum, up + 1, width - 1, channel->own[RIGHT_UP]);
                for (size_t x = 0; x < width; x++) {
                    const uint32_t right_up = x + 1 < width ? up[x + 1] : 0;
                    const int32_t prediction = sum[x] + channel->own[LEFT] * (int32_t)left +
                                               channel->own[LEFT_LEFT] * (int32_t)left_left;
                    const int32_t cell = prediction < 0 ? 0 : prediction >> model->bits;
                    const int bin = model->bin_of_cell[cell < CELLS ? cell : CELLS - 1];
                    const uint32_t rough = difference(left, left_up) + difference(up[x], left_up) +
                                           difference(up[x], right_up);
                    const int table = 2 * bin + (rough > model->rough[bin]);
                    if (which)
                        *which++ = (uint8_t)table;
                    else if (!decode_one(state, &row[x], &tables->tables[table], reader,
                                         tables->precision, 0))
                        return 0;
                    left_left = left;
                    left = row[x];
                    left_up = up[x];
                    total += left;
                }
            }
            above += (int64_t)(total << 8) - channel->mean * (int64_t)size;
        }
    }
    return 1;
}

static int32_t get_signed16(const uint8_t *at) { return (int32_t)(get16(at) ^ FLAG) - (int32_t)FLAG; }

/* Returns 0 if a number of the record is out of its range. */
static int fill_channel(Channel *channel, const uint8_t *at, int earlier, size_t number)
{
    const uint32_t bias = get16(at) | get16(at + 2) << 16, mean = get16(at + 4) | get16(at + 6) << 16;
    const uint32_t most = 1u << 28;
    if (bias + most > 2 * most || mean > 255u << 8)
        return 0;
    channel->bias = (int32_t)(bias + most) - (int32_t)most;
    channel->mean = (int32_t)mean;
    at += 8;
    for (int i = 0; i < OWN; i++, at += 2)
        channel->own[i] = get_signed16(at);
    const uint8_t *weights = at + 2 * earlier;
    for (int k = 0; k < earlier; k++, at += 2, weights += 10) {
        Earlier *other = &channel->earlier[k];
        other->number = (int)get16(at);
        if (other->number != NO_CHANNEL && (size_t)other->number >= number)
            return 0;
        for (int place = 0; place < PLACES; place++)
            other->weights[place] = get_signed16(weights + 2 * place);
    }
    return 1;
}

#endif
