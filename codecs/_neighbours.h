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

typedef struct {
    int number;
    int32_t same, right, below, left, above;
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

/* The part of the predictions of a channel that its own symbols do not change. */
static void add_earlier(int32_t *sums, const uint8_t *sample, const Channel *channel, int earlier,
                        int32_t base, size_t height, size_t width)
{
    for (size_t i = 0; i < height * width; i++)
        sums[i] = base;
    for (size_t x = 0; x < width; x++)
        sums[x] += channel->own[FIRST_ROW];
    for (size_t y = 0; y < height; y++)
        sums[y * width] += channel->own[FIRST_COLUMN];
    for (int k = 0; k < earlier; k++) {
        const Earlier *other = &channel->earlier[k];
        if (other->number == NO_CHANNEL)
            continue;
        const uint8_t *plane = sample + (size_t)other->number * height * width;
        add_row(sums, plane, height * width, other->same);
        add_row(sums, plane + width, (height - 1) * width, other->below);
        add_row(sums + width, plane, (height - 1) * width, other->above);
        for (size_t at = 0; at < height * width; at += width) {
            add_row(sums + at, plane + at + 1, width - 1, other->right);
            add_row(sums + at + 1, plane + at, width - 1, other->left);
        }
    }
}

INLINE uint32_t difference(uint32_t a, uint32_t b) { return a > b ? a - b : b - a; }

/* With `which`, writes the table of each of the known symbols; else decodes the symbols. Returns 0
   if the stream ends early. `sums` and `zeros` have room for a plane and a row. */
INLINE int walk(const Model *model, Shape shape, uint8_t *symbols, uint8_t *which, int32_t *sums,
                const uint8_t *zeros, const Tables *tables, uint32_t *state, Reader *reader)
{
    const size_t width = shape.width, size = shape.height * width;
    for (size_t n = 0; n < shape.samples; n++) {
        uint8_t *sample = symbols + n * shape.channels * size;
        int64_t above = 0;
        for (size_t c = 0; c < shape.channels; c++) {
            const Channel *channel = &model->each[c];
            const int64_t high = c ? floor_divide(above, (int64_t)(c * size)) : 0;
            const int32_t base =
                channel->bias + (int32_t)floor_shift(channel->own[HEIGHT] * high, 8);
            uint64_t total = 0;
            add_earlier(sums, sample, channel, model->earlier, base, shape.height, width);
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
        other->same = get_signed16(weights);
        other->right = get_signed16(weights + 2);
        other->below = get_signed16(weights + 4);
        other->left = get_signed16(weights + 6);
        other->above = get_signed16(weights + 8);
    }
    return 1;
}

#endif
