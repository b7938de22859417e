/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libshmbuddy's protocol between two words (libshmbuddy/src/tree.h), as tree.c has it: an upper leaf, and the lower word of two leaves below
 * it. Three processes allocate and free small blocks (a lower leaf) and large ones (the upper leaf), leave empty words open or merge
 * them, and mend whenever they like, also what the living are at. One of them may stop for ever before any step.
 *
 * Asserted: no two own one byte; who frees finds his block; a word below a leaf that is not split deals out nothing; and when all are
 * done, after one mend, whatever no dead process owns is free, in one piece when nothing is owned.
 *
 * A step is one load or one compare-exchange. A stamp, and a closed word's value, are counters that never come again; an open lower
 * word has no stamp, as in word.h. The other leaves of the upper word are there as changes of its stamp (NEIGHBOUR).
 */
#ifndef OPS
#define OPS 1 /* Calls of each process, and then the free of what it holds. */
#endif
#ifndef PROCESSES
#define PROCESSES 3
#endif
#define NOBODY    0

#define FREE  0
#define BLOCK 1
#define SPLIT 2

/* The upper word. */
byte leaf = FREE;
byte stamp = 0;
/* The lower word: open, and which leaves are busy; or closed, with a value; who wrote it is freeing the leaf, or nobody is. */
bool open = false;
byte busy = 0;
byte value = 0;
bool merging = false;
/* The region's counter. */
byte unique = 0;

/* Not in the region: who owns each lower leaf's bytes; who has stopped; who is done. */
byte owner[2];
byte dead = NOBODY;
byte done = 0;

inline own(first, last)
{
	assert(first != 0 || owner[0] == NOBODY);
	assert(last != 1 || owner[1] == NOBODY);
	if
	:: first == 0 -> owner[0] = _pid + 1
	:: else
	fi;
	if
	:: last == 1 -> owner[1] = _pid + 1
	:: else
	fi
}

/* ---- each one step ---- */

inline read_upper()
{
	atomic { u_leaf = leaf; u_stamp = stamp }
}

inline read_lower()
{
	atomic { l_open = open; l_busy = busy; l_value = value; l_merging = merging }
}

/* The upper word is as it was read: leaf becomes to. */
inline cas_upper(to)
{
	ok = (stamp == u_stamp);
	if
	:: ok -> leaf = to; stamp++
	:: else
	fi
}

/* ---- coming up ---- */

/* The lower word was closed by us with `mine`. */
inline free_leaf()
{
	do
	:: read_upper();
	   atomic { ok = (!open && value == mine && u_leaf == SPLIT) };
	   if
	   :: !ok -> break
	   :: else
	   fi;
	   atomic { cas_upper(FREE) };
	   if
	   :: ok -> break
	   :: else
	   fi
	od
}

inline merge()
{
	atomic {
		ok = (open && busy == 0);
		if
		:: ok -> unique++; mine = unique; open = false; value = mine; merging = true
		:: else
		fi
	};
	if
	:: ok -> free_leaf()
	:: else
	fi
}

inline mend()
{
	read_upper();
	read_lower();
	if
	:: u_leaf == SPLIT && !l_open ->
		atomic {
			ok = (!open && value == l_value);
			if
			:: ok -> unique++; mine = unique; value = mine; merging = true
			:: else
			fi
		};
		if
		:: ok -> free_leaf()
		:: else
		fi
	:: u_leaf == SPLIT && l_open && l_busy == 0 -> merge()
	:: else
	fi
}

/* ---- calls ---- */

/* Whoever wrote this value is freeing the leaf, or was: now he is not. */
inline renew()
{
	atomic {
		renewed = (!open && value == l_value);
		if
		:: renewed -> unique++; mine = unique; value = mine; merging = false; l_value = mine
		:: else
		fi
	}
}

inline malloc_small()
{
	read_lower();
	if
	:: l_open && l_busy != 3 ->
		atomic {
			which = (l_busy & 1 -> 1 : 0);
			ok = (open && busy == l_busy);
			if
			:: ok ->
				assert(leaf == SPLIT);
				busy = busy | (1 << which);
				own(which, which);
				has = 1 + which
			:: else
			fi
		}
	:: else ->
		read_upper();
		if
		:: u_leaf == FREE ->
			read_lower();
			if
			:: !l_open ->
				renewed = false;
				if
				:: l_merging -> renew()
				:: else
				fi;
				atomic { cas_upper(SPLIT) };
				if
				:: ok ->
					atomic {
						ok = (!open && value == l_value);
						if
						:: ok ->
							assert(leaf == SPLIT);
							open = true;
							busy = 1;
							own(0, 0);
							has = 1
						:: else
						fi
					};
					if
					:: !ok -> mend()
					:: else
					fi
				:: !ok && renewed -> mend()
				:: else
				fi
			:: else
			fi
		:: else
		fi
	fi
}

inline malloc_large()
{
	read_upper();
	if
	:: u_leaf == FREE ->
		atomic {
			cas_upper(BLOCK);
			if
			:: ok -> assert(!open); own(0, 1); has = 3
			:: else
			fi
		}
	:: u_leaf == SPLIT -> merge()
	:: else
	fi
}

inline free_block()
{
	if
	:: has == 3 ->
		do
		:: read_upper();
		   atomic {
			assert(leaf == BLOCK);
			cas_upper(FREE);
			if
			:: ok -> owner[0] = NOBODY; owner[1] = NOBODY; has = 0
			:: else
			fi
		   };
		   if
		   :: ok -> break
		   :: else
		   fi
		od
	:: else ->
		do
		:: read_lower();
		   atomic {
			assert(l_open && (l_busy & (1 << (has - 1))));
			ok = (open && busy == l_busy);
			if
			:: ok ->
				busy = busy & ~(1 << (has - 1));
				owner[has - 1] = NOBODY;
				has = 0;
				l_busy = busy
			:: else
			fi
		   };
		   if
		   :: ok -> break
		   :: else
		   fi
		od;
		/* At once, or not: an empty word may stay open until a large block is wanted. */
		if
		:: l_busy == 0 -> merge()
		:: true
		fi
	fi
}

/* What a process knows of no more use: fewer states. */
inline forget()
{
	atomic {
		u_leaf = 0; u_stamp = 0; l_open = false; l_busy = 0; l_value = 0; l_merging = false;
		mine = 0; which = 0; renewed = false; ok = false
	}
}

active [PROCESSES] proctype process()
{
	byte u_leaf, u_stamp, l_busy, l_value, mine, which, has, ops;
	bool l_open, l_merging, renewed, ok;

	{
		do
		:: ops < OPS ->
			atomic {
				ops++;
				forget()
			};
			if
			:: has == 0 -> malloc_small()
			:: has == 0 -> malloc_large()
			:: has == 0 -> mend()
			:: has != 0 -> free_block()
			fi
		:: else -> forget(); break
		od;
		if
		:: has != 0 -> free_block()
		:: else
		fi
	} unless { dead == _pid + 1 };
	atomic { forget(); has = 0; ops = 0; done++ }
}

/* One may stop, whenever this comes about; or nobody. */
active proctype killer()
{
	if
	:: true
	:: dead = 1
	:: dead = 2
#if PROCESSES > 2
	:: dead = 3
#endif
	fi
}

#ifdef NEIGHBOUR
/* Another leaf of the upper word comes and goes. */
active proctype neighbour()
{
	stamp++;
	stamp++
}
#endif

/* When all is over: mend, then look. */
active proctype judge()
{
	byte u_leaf, u_stamp, l_busy, l_value, mine;
	bool l_open, l_merging, ok;

	done == PROCESSES;
	mend();
	assert(open == (leaf == SPLIT));
	assert((leaf == FREE) == (owner[0] == NOBODY && owner[1] == NOBODY));
	assert(leaf != BLOCK || (owner[0] != NOBODY && owner[0] == owner[1]));
	assert(!open || (((busy & 1) != 0) == (owner[0] != NOBODY) && ((busy & 2) != 0) == (owner[1] != NOBODY)));
	assert(!open || busy != 0)
}
