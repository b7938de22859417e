/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An image: a map file as it lies in this process's memory, and how the process takes part in it.
 *
 * Engines, locks, owners, roots, checks, snapshots and the tool work on images. Who opened a map, how often, and what a fork does to it,
 * is in the handle (map.h), which begins with its image. The tool's views and a snapshot's copy are images without a handle: they are
 * mapped at any address, and no other process knows of them.
 *
 * id is unique for ever within the process. Threads' caches (thread.h) carry the id that they were made for; to invalidate
 * all of them at once, at close and in a fork child, the image gets another id.
 */
#ifndef MA_IMAGE_H
#define MA_IMAGE_H

#include <pthread.h>
#include <time.h>

#include "common/base.h"
#include "common/engine.h"
#include "common/header.h"
#include "common/layout.h"
#include "common/segment.h"

#define MA_MAP_CLOSED UINT64_MAX
#define MA_NO_SLOT    UINT32_MAX

/* How a map is opened. The image's mode has them. */
enum ma_map_flags {
	MA_MAP_CREATE = 1,     /* An absent or empty file becomes a new map. */
	MA_MAP_RDONLY = 2,     /* Never write, hold no lock. */
	MA_MAP_PRIVATE = 4,    /* A copy-on-write view of the file. */
	MA_MAP_ANON = 8,       /* No file at all. */
	MA_MAP_EXCLUSIVE = 16, /* No other process may be attached, now and until the map is closed. */
	MA_MAP_FORKS = 32,     /* A fork child gets a copy of its own (fork_begin). */
};

struct ma_checkpoint;

#define MA_SWEEP_FRESH 8

/* What heap_sweep.c remembers. */
struct ma_sweep {
	_Atomic uint64_t looks; /* Slabs that long searches visited: only tests read it. */
	_Atomic bool is_busy;   /* A thread uses the members up to wait. */
	bool is_on;
	uint64_t begin_ns, news; /* The time, and what ma_search_news() was, when the sweep began. */
	uint32_t lane; /* The next chunk: of this lane, at this place in its range. */
	uint64_t at;
	bool has_empty, has_room[MA_CLASSES];
	uint32_t fresh[MA_SWEEP_FRESH]; /* Slabs that may have room since the sweep visited them. */
	_Atomic uint32_t fresh_count;
	uint32_t wait,
		waits; /* Refills until the next sweep begins; refills to wait if that one ends without a claim. */
	/* News for which there is no room in the class, and the last one: no empty slab; 0: this is not known. Until when that is believed. */
	_Atomic uint64_t claim[MA_CLASSES + 1], until_ns;
};

struct ma_image {
	/* What the fast paths read: one line, written only by open, close, fork and ma_image_watch(). */
	_Atomic uint64_t id;
	char *user;             /* Address of unit 0. */
	_Atomic uint8_t *alloc_bytes; /* Of item 0. Dynamic: the base, which slab descriptors count from. */
	_Atomic uint64_t *slab_desc;  /* Dynamic; see common/heap.h. */
	uint64_t fast_units; /* Blocks of so many chunks may be freed the fast way; 0 when every call must be seen. */
	uint64_t fast_items; /* The same of a static map, in bytes. One of the two is 0: that is the kind. */
	union {
		uint64_t first_chunk; /* user / 64 KiB. */
		uint64_t item_magic;  /* 2^64 / item_bytes, rounded up. */
	};
	int32_t tls_at; /* Where a thread's cache for this map is: see ma_tcache_of(), MA_TLS_WATCHED. */
	/*
	 * Dynamic: the lines below this one may hold allocation bytes: the slots of any slab there are inside the file. It only grows with
	 * the file, and so does fast_units: a free that reads one of them before and one after a growth takes the slow path, or is right.
	 */
	uint32_t fast_lines;

	/* The mapping. */
	uint32_t kind;
	char *base;
	uint64_t item_bytes;
	struct ma_header *header;
	uint64_t mapped;
	uint64_t hole_at;  /* From here ... */
	uint64_t hole_end; /* ... to here it is not mapped, when not 0: there was not enough address space. */
	uint32_t reach;    /* So many segments are mapped here. */
	unsigned mode;     /* enum ma_map_flags */
	const struct ma_engine *engine;
	struct ma_layout lay;
	struct ma_header sealed; /* The header as it was checked: what is written once is read from here. */
	_Atomic uint64_t
		freed_chunks;    /* Dynamic: of runs, since it was last counted how much space free chunks keep. */
	bool annotated;          /* Valgrind or ASan is told of each block (annotate.h). The map is watched then. */
	_Atomic bool opening_space; /* Space is taken again that the tables say is there: by the first opener, or regain.h. */
	_Atomic bool lacks_space;   /* That failed in a map in use: no more blocks. */
	_Atomic uint64_t blocks;    /* What the file had at the last look, in st_blocks; 0: none yet. */
	_Atomic uint64_t looked;    /* When that was, in seconds. */
	_Atomic uintptr_t hook;  /* The library's own word about this map; 0 after an open. */

	/* What reclaim.h remembers. */
	_Atomic bool frees_are_seen; /* The next free takes the slow path. */
	_Atomic bool is_watched;     /* Every call does. */
	_Atomic uint64_t frees;      /* Blocks that this process freed the slow way. */
	struct {
		_Atomic uint64_t until_ns; /* 0: no search failed. */
		_Atomic uint64_t news;     /* ma_search_news() before it. */
	} failed[MA_CLASSES];              /* Static maps: the first two. */
	struct ma_sweep sweep;             /* heap_sweep.h */

	/* What follows from the length that the header had at the last ma_image_measure(). */
	struct {
		_Atomic uint64_t most;   /* The longest length of the file that was seen; 0: believe the header. */
		_Atomic uint64_t length; /* What the header said; 0: nothing is known. */
		_Atomic uint64_t bytes;  /* What is believed of that, and what follows from it: */
		_Atomic uint64_t units;
		_Atomic uint64_t user_end;
		_Atomic uint32_t segments;
	} known;

	/* The file (image_fd.h). */
	int fd;   /* ma_image_fd() says whether it still is ours. */
	int mark; /* fd.h */
	struct ma_place place;    /* As in regfile.h. */
	bool fickle;              /* The process's locks end with the descriptor. */
	bool was_replaced;        /* The mapping belongs to an open file description before this one. */
	_Atomic bool lost;        /* The descriptor is gone, and could not be opened again. */
	time_t lost_at;           /* When that was tried last. */
	pthread_mutex_t fd_mutex; /* Guards replacing fd; taken last. */
	uint64_t generation;      /* In which this process attached. */

	/* The process's membership (body.h). */
	_Atomic uint32_t slot;
	uint64_t slot_since;        /* What we wrote into the slot. */
	pthread_mutex_t mutex;      /* Guards slot, known, and the two members below. */
	_Atomic uint32_t reap_left; /* Process slots that the current search for dead processes has not checked yet. */
	uint32_t reap_next;         /* The slot whose lock it checks next. */
	_Atomic uint32_t probe_next; /* The slot whose pid is checked next. */
	/* All process slots, and all owner records, were held: until then (ma_slot_all_held). */
	_Atomic uint64_t slots_held_until, owners_held_until;
	_Atomic uintptr_t stuck_lock;   /* The last lock for which a wait timed out, and its word then. */
	_Atomic uint32_t stuck_word;

	/* Of a snapshot that is being made. */
	struct ma_image *source; /* What it is copied from. */
	int privatize_errno;           /* Why that failed. */

	/* Of a durable map (checkpoint_image.h). */
	struct ma_checkpoint *checkpoint; /* NULL: none was made in this process yet. */
	uint32_t held;                    /* Streams that a capture holds. */

	char name[256]; /* For messages, also about a closed handle: it stays until the next open. */
};

/* Is this a map that is open now? Else errno EBADF. */
bool ma_image_is_open(const struct ma_image *image);
/* An id that no image of this process ever had. */
uint64_t ma_image_new_id(void);
/*
 * Nothing: closed, with all numbers 0, but for the name. Threads' caches for it will be where tls_at says. What the fast paths read is never
 * torn: other threads may look at an image in any state.
 */
void ma_image_clear(struct ma_image *image, int32_t tls_at);
/* The layout that follows from the sealed numbers, at the sealed base. False: they are impossible. */
bool ma_image_plan(struct ma_image *image);
/* It is mapped at its base: find its parts. Everything but the fast paths works afterwards. False: impossible numbers. */
bool ma_image_lay_out(struct ma_image *image);

/*
 * An image without a handle: of this header, of which this process alone knows. Nothing is mapped, and it has no file. False: impossible
 * numbers.
 */
bool ma_image_make(struct ma_image *image, const struct ma_engine *engine, const struct ma_header *header,
		   const char *name);
/* It is in this file, and so it is used (enum ma_map_flags). */
void ma_image_set_file(struct ma_image *image, int fd, const struct ma_place *place);
void ma_image_set_mode(struct ma_image *image, unsigned mode);
/* All of it is mapped here, wherever that is. False: impossible numbers. */
bool ma_image_place(struct ma_image *image, void *at);
/*
 * Part it from its file, which no system call reaches from now on: what is written to it stays in this process, to which all others count
 * as dead.
 */
void ma_image_part(struct ma_image *image);

/*
 * From now on every call on this map, in every thread, takes the slow path; until the map is closed. A call that another
 * thread is just making may still be a fast one. What threads have in their caches stays theirs.
 */
void ma_image_watch(struct ma_image *image);
/* The library's own word about the map, which calls look at. */
void ma_image_set_hook(struct ma_image *image, uintptr_t hook);
/* What messages call it. */
void ma_image_set_name(struct ma_image *image, const char *name);

/*
 * What is believed when the header says this length. It may be damaged at any moment: it is never less than before, and not more
 * than the file has.
 */
uint64_t ma_image_believe(const struct ma_image *image, uint64_t length);
/* This process made the file, or its memory, so long. */
void ma_image_is_long(struct ma_image *image, uint64_t length);
/* The file may have grown: let the fast paths know (image_length.c). */
void ma_image_measure(struct ma_image *image);

MA_INLINE bool ma_image_writable(const struct ma_image *image)
{
	return !(image->mode & MA_MAP_RDONLY);
}

/* The part of the body that all kinds have. */
MA_INLINE struct ma_body *ma_body(const struct ma_image *image)
{
	return (struct ma_body *)(void *)(image->base + MA_PAGE);
}

/* ---- segments and lanes: inline, for each slow call comes by here ---- */

/* Segments that a file of this length has. */
MA_INLINE uint32_t ma_segments_at(const struct ma_layout *lay, uint64_t length)
{
	uint32_t count = lay->segments;

	while (count > 1 && length < lay->seg[count - 1].user_file)
		count--;
	return count;
}

/* Does this length still have the numbers that ma_image_measure() noted? It notes the length last. */
MA_INLINE bool ma_image_is_known(const struct ma_image *image, uint64_t length)
{
	/* Pairs with common/image_length.c:note_length. */
	return MA_LIKELY(length == ma_load_acquire(&image->known.length) && length);
}

/* The file's length, as far as it is believed. */
MA_INLINE uint64_t ma_image_length(const struct ma_image *image)
{
	uint64_t length = ma_load_acquire(&image->header->length); /* Pairs with common/space.c:grow. */

	return ma_image_is_known(image, length) ? ma_load(&image->known.bytes) : ma_image_believe(image, length);
}

/* Segments that the file has. It may come to have more at any moment, never fewer. */
MA_INLINE uint32_t ma_segments(const struct ma_image *image)
{
	uint64_t length = ma_load_acquire(&image->header->length); /* Pairs with common/space.c:grow. */
	uint32_t count = image->reach;

	if (ma_image_is_known(image, length))
		return ma_load(&image->known.segments);
	length = ma_image_believe(image, length);
	while (count > 1 && length < image->lay.seg[count - 1].user_file)
		count--;
	return count;
}

/* Lanes that the file has. Those of the segments behind are not even there to be looked at. */
MA_INLINE uint32_t ma_lanes(const struct ma_image *image)
{
	return ma_segments(image) * image->lay.streams;
}

/* The segment that a unit, or a lane, is in. */
MA_INLINE const struct ma_segment *ma_segment_of(const struct ma_image *image, uint64_t unit)
{
	const struct ma_segment *seg = image->lay.seg, *last = seg + image->lay.segments - 1;

	while (seg < last && unit >= seg[1].first)
		seg++;
	return seg;
}

MA_INLINE const struct ma_segment *ma_lane_segment(const struct ma_image *image, uint32_t lane)
{
	return lane < image->lay.streams ? image->lay.seg : &image->lay.seg[lane / image->lay.streams];
}

/* Its number among those of its segment. */
MA_INLINE uint32_t ma_lane_stream(const struct ma_image *image, uint32_t lane)
{
	return lane < image->lay.streams ? lane : lane % image->lay.streams;
}

MA_INLINE struct ma_stream *ma_stream(const struct ma_image *image, uint32_t lane)
{
	const struct ma_segment *seg = ma_lane_segment(image, lane);

	return (struct ma_stream *)(void *)(image->base + seg->stream_off +
					    (uint64_t)ma_lane_stream(image, lane) * image->lay.stream_stride);
}

/*
 * A slab, chunks or a group come back to the lane, whose lock is held. A thread that finds no room searches again when the count has
 * changed. Pairs with common/reclaim.c:ma_search_news.
 */
MA_INLINE void ma_stream_count_return(const struct ma_image *image, uint32_t lane)
{
	_Atomic uint32_t *returns = &ma_stream(image, lane)->returns;

	ma_store_release(returns, ma_load(returns) + 1);
}

/* The lane that unit belongs to by its position. */
MA_INLINE uint32_t ma_stream_of(const struct ma_image *image, uint64_t unit)
{
	const struct ma_segment *seg = image->lay.seg;
	uint32_t lane = 0;

	while (MA_UNLIKELY(unit - seg->first >= seg->count) && seg < &image->lay.seg[image->lay.segments - 1]) {
		seg++;
		lane += image->lay.streams;
	}
	/* What per_stream divides: exactly that, for both are below 2^32. */
	return lane + (uint32_t)((unsigned __int128)(unit - seg->first + 1) * seg->reciprocal >> 64);
}

/* The i-th lane that a thread of this stream asks: its own in each of so many segments, then its neighbours'. */
MA_INLINE uint32_t ma_lane_at(const struct ma_image *image, uint32_t segments, uint32_t stream, uint32_t i)
{
	if (MA_LIKELY(i == 0))
		return stream;
	return i % segments * image->lay.streams + (stream + i / segments) % image->lay.streams;
}

/* Units that a file of this length has whole; one that grows by itself, those of all its segments. */
MA_INLINE uint64_t ma_units_at(const struct ma_image *image, uint64_t length)
{
	const struct ma_layout *lay = &image->lay;
	const struct ma_segment *last;
	uint32_t count = image->reach;
	uint64_t units;

	while (count > 1 && length < lay->seg[count - 1].user_file)
		count--;
	last = &lay->seg[count - 1];
	units = lay->grows ? last->user_at + last->user_bytes : ma_segment_user(lay, length);
	units = lay->item_bytes ? (units / lay->item_bytes + lay->group_items - 1) / lay->group_items
				: units / lay->unit_bytes;
	return ma_min(units, last->first + last->count);
}

MA_INLINE uint64_t ma_units(const struct ma_image *image)
{
	uint64_t length = ma_load_acquire(&image->header->length); /* Pairs with common/space.c:grow. */

	return ma_image_is_known(image, length) ? ma_load(&image->known.units)
						: ma_units_at(image, ma_image_believe(image, length));
}

MA_INLINE uint64_t ma_range_first(const struct ma_image *image, uint32_t lane)
{
	const struct ma_segment *seg = ma_lane_segment(image, lane);

	return seg->first + ma_min(ma_lane_stream(image, lane) * seg->per_stream, seg->count);
}

/* With the units that the file does not have yet. A tree covers those too: they are free, and out of reach. */
MA_INLINE uint64_t ma_range_whole(const struct ma_image *image, uint32_t lane)
{
	const struct ma_segment *seg = ma_lane_segment(image, lane);

	return ma_min(seg->per_stream, seg->first + seg->count - ma_range_first(image, lane));
}

/* Units of a lane that the file has. */
MA_INLINE uint64_t ma_range_count(const struct ma_image *image, uint32_t lane)
{
	const struct ma_segment *seg = ma_lane_segment(image, lane);
	uint64_t first = ma_range_first(image, lane);
	uint64_t end = ma_min(ma_units(image), ma_min(seg->first + seg->count, first + seg->per_stream));

	return end > first ? end - first : 0;
}

/* The lane of a unit that is known to lie in this one or behind; mostly it is that one. */
MA_INLINE uint32_t ma_stream_from(const struct ma_image *image, uint32_t from, uint64_t unit)
{
	const struct ma_segment *seg = ma_lane_segment(image, from);
	uint64_t end = ma_min(seg->first + seg->count, ma_range_first(image, from) + seg->per_stream);

	return unit < end ? from : ma_stream_of(image, unit);
}

/* Everything before this offset that is no table lies inside a file of this length. */
MA_INLINE uint64_t ma_user_end_at(const struct ma_image *image, uint64_t length)
{
	const struct ma_segment *last = &image->lay.seg[image->reach - 1];

	return image->lay.user_off + ma_min(ma_segment_user(&image->lay, length), last->user_at + last->user_bytes);
}

MA_INLINE uint64_t ma_user_end(const struct ma_image *image)
{
	uint64_t length = ma_load_acquire(&image->header->length); /* Pairs with common/space.c:grow. */

	return ma_image_is_known(image, length) ? ma_load(&image->known.user_end)
						: ma_user_end_at(image, ma_image_believe(image, length));
}

/* What blocks can take, in a file of this length. */
MA_INLINE uint64_t ma_capacity_at(const struct ma_image *image, uint64_t length)
{
	const struct ma_layout *lay = &image->lay;
	uint64_t units = ma_units_at(image, length);

	if (!lay->item_bytes)
		return units * lay->unit_bytes;
	return ma_min(ma_segment_user(lay, length) / lay->item_bytes, units * lay->group_items) * lay->item_bytes;
}

MA_INLINE uint64_t ma_capacity(const struct ma_image *image)
{
	return ma_capacity_at(image, ma_image_length(image));
}

#endif /* MA_IMAGE_H */
