/* Tables and interleaved streams: codecs/rans.py in portable C99 on integers. That file explains the
   bytes. Nothing here knows Python. */

#ifndef SPLITNET_STREAMS_H
#define SPLITNET_STREAMS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LOWEST 65536u /* smallest state */
#define COLUMNS 257   /* symbols and the escape */
#define ESCAPE 256
#define MAX_PRECISION 14
#define MAX_TABLES 256
#define MAX_LANES 128

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(condition) __builtin_expect((condition), 0)
#else
#define INLINE static inline
#define UNLIKELY(condition) (condition)
#endif

/* ---- Tables ---------------------------------------------------------------------------------- */

#define FLAG 0x8000u

typedef struct {
    uint64_t reciprocal;
    uint32_t limit; /* from this state on, a word leaves before the symbol is encoded */
    uint16_t gap;   /* 2**precision - frequency; FLAG: the symbol is escaped */
    uint16_t start; /* first slot; FLAG: add 1 before multiplying with the reciprocal */
} Encoder;

typedef struct {
    uint16_t gap, start;
} Decoder;

typedef struct {
    Encoder encoders[256];
    Decoder decoders[COLUMNS];
    uint16_t costs[256];
    uint8_t symbols[1 << MAX_PRECISION]; /* of a slot in front of those of the escape */
} Table;

typedef struct {
    int precision;
    int count;
    Table tables[];
} Tables;

/* q = ((x + increment) * reciprocal) >> (31 + precision) is x / frequency rounded down, for every
   x below frequency << (32 - precision): one of the two roundings of the reciprocal is off by at
   most frequency / 2, and x * frequency / 2 is below 2**(31 + precision). */
static Encoder make_encoder(uint32_t frequency, uint32_t start, int precision)
{
    Encoder made;
    const uint64_t one = (uint64_t)1 << (31 + precision);
    const uint64_t remainder = one % frequency;
    const int up = remainder != 0 && remainder * 2 >= frequency;
    const int increment = remainder != 0 && !up;
    made.reciprocal = one / frequency + (uint64_t)up;
    made.limit = frequency << (32 - precision);
    made.gap = (uint16_t)((1u << precision) - frequency);
    made.start = (uint16_t)(start | (increment ? FLAG : 0));
    return made;
}

/* Returns 0 unless the frequencies add up to 2**precision, the escape among them. */
static int fill_table(Table *table, const uint8_t *frequencies, const uint8_t *costs, int precision)
{
    uint32_t start = 0;
    for (int s = 0; s < COLUMNS; s++) {
        const uint32_t frequency = frequencies[2 * s] | (uint32_t)frequencies[2 * s + 1] << 8;
        if (frequency > (1u << precision) - start || (s == ESCAPE && frequency == 0))
            return 0;
        table->decoders[s].gap = (uint16_t)((1u << precision) - frequency);
        table->decoders[s].start = (uint16_t)start;
        if (s < ESCAPE) {
            table->costs[s] = (uint16_t)(costs[2 * s] | (uint32_t)costs[2 * s + 1] << 8);
            memset(table->symbols + start, s, frequency);
            if (frequency)
                table->encoders[s] = make_encoder(frequency, start, precision);
        } else {
            const Encoder escape = make_encoder(frequency, start, precision);
            memset(table->symbols + start, 0, frequency);
            for (int other = 0; other < ESCAPE; other++)
                if (table->decoders[other].gap == 1u << precision) {
                    table->encoders[other] = escape;
                    table->encoders[other].gap |= FLAG;
                }
        }
        start += frequency;
    }
    return start == 1u << precision;
}

/* ---- Streams --------------------------------------------------------------------------------- */

INLINE void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

INLINE uint32_t get16(const uint8_t *at) { return at[0] | (uint32_t)at[1] << 8; }

typedef struct {
    uint8_t *word;    /* the words so far begin here and grow downwards */
    uint8_t *escaped; /* the escaped symbols so far end here and grow upwards */
} Writer;

INLINE uint32_t encode_one(uint32_t x, uint8_t symbol, const Table *table, Writer *writer, int shift)
{
    const Encoder *encoder = &table->encoders[symbol];
    const uint32_t full = x >= encoder->limit;
    put16(writer->word - 2, x);
    writer->word -= 2 * full;
    x >>= 16 * full;
    if (UNLIKELY(encoder->gap & FLAG))
        *writer->escaped++ = symbol;
    const uint64_t quotient =
        (((uint64_t)x + (encoder->start >> 15)) * encoder->reciprocal) >> shift;
    return x + (uint32_t)quotient * (encoder->gap & ~FLAG) + (encoder->start & ~FLAG);
}

/* `lanes` is a constant wherever this is used, so that few states stay in registers. */
INLINE void encode_lanes(uint32_t *states, const int lanes, const uint8_t *symbols,
                         const uint8_t *which, const Tables *tables, size_t count, Writer *writer)
{
    const int shift = 31 + tables->precision;
    const Table *all = tables->tables;
    Writer own = *writer;
    size_t i = count;
    for (; i % (size_t)lanes; i--)
        states[(i - 1) % (size_t)lanes] = encode_one(states[(i - 1) % (size_t)lanes], symbols[i - 1],
                                                     &all[which ? which[i - 1] : 0], &own, shift);
    for (; i; i -= (size_t)lanes)
        for (int lane = lanes - 1; lane >= 0; lane--) {
            const size_t at = i - (size_t)lanes + (size_t)lane;
            states[lane] =
                encode_one(states[lane], symbols[at], &all[which ? which[at] : 0], &own, shift);
        }
    *writer = own;
}

typedef struct {
    const uint8_t *word; /* the next word */
    const uint8_t *tail; /* behind the next escaped symbol, or where the stream ends */
} Reader;

/* Returns 0 if the stream has no more words or escaped symbols. */
INLINE int decode_one(uint32_t *state, uint8_t *symbol, const Table *table, Reader *reader,
                      int precision, const int unchecked)
{
    const uint32_t slot = *state & ((1u << precision) - 1);
    const Decoder *decoder = &table->decoders[table->symbols[slot]];
    *symbol = table->symbols[slot];
    if (UNLIKELY(slot >= table->decoders[ESCAPE].start)) {
        decoder = &table->decoders[ESCAPE];
        if (reader->tail <= reader->word)
            return 0;
        *symbol = *--reader->tail;
    }
    const uint32_t x = *state - (*state >> precision) * decoder->gap - decoder->start;
    const uint32_t needy = x < LOWEST;
    if (unchecked) {
        *state = x << 16 * needy | (get16(reader->word) & (0u - needy)); /* no branch to miss */
        reader->word += 2 * needy;
        return 1;
    }
    *state = x;
    if (needy) {
        if (reader->tail - reader->word < 2)
            return 0;
        *state = x << 16 | get16(reader->word);
        reader->word += 2;
    }
    return 1;
}

INLINE int decode_lanes(uint32_t *states, const int lanes, uint8_t *symbols, const uint8_t *which,
                        const Tables *tables, size_t count, Reader *reader)
{
    const int precision = tables->precision;
    const Table *all = tables->tables;
    Reader own = *reader;
    size_t i = 0;
    /* A step takes at most a word and an escaped symbol for each lane. */
    while (count - i >= (size_t)lanes && own.tail - own.word >= 3 * lanes) {
        for (int lane = 0; lane < lanes; lane++, i++)
            if (!decode_one(&states[lane], &symbols[i], &all[which ? which[i] : 0], &own, precision,
                            1))
                return 0;
    }
    for (; i < count; i++)
        if (!decode_one(&states[i % (size_t)lanes], &symbols[i], &all[which ? which[i] : 0], &own,
                        precision, 0))
            return 0;
    *reader = own;
    return 1;
}

static void encode_stream(uint32_t *states, int lanes, const uint8_t *symbols, const uint8_t *which,
                          const Tables *tables, size_t count, Writer *writer)
{
    if (lanes == 1 && which)
        encode_lanes(states, 1, symbols, which, tables, count, writer);
    else if (lanes == 1)
        encode_lanes(states, 1, symbols, NULL, tables, count, writer);
    else if (lanes == 8 && which)
        encode_lanes(states, 8, symbols, which, tables, count, writer);
    else if (lanes == 8)
        encode_lanes(states, 8, symbols, NULL, tables, count, writer);
    else
        encode_lanes(states, MAX_LANES, symbols, which, tables, count, writer);
}

static int decode_stream(uint32_t *states, int lanes, uint8_t *symbols, const uint8_t *which,
                         const Tables *tables, size_t count, Reader *reader)
{
    if (lanes == 1 && which)
        return decode_lanes(states, 1, symbols, which, tables, count, reader);
    if (lanes == 1)
        return decode_lanes(states, 1, symbols, NULL, tables, count, reader);
    if (lanes == 8 && which)
        return decode_lanes(states, 8, symbols, which, tables, count, reader);
    if (lanes == 8)
        return decode_lanes(states, 8, symbols, NULL, tables, count, reader);
    return decode_lanes(states, MAX_LANES, symbols, which, tables, count, reader);
}

#endif
