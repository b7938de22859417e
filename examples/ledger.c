/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ledger that survives a power cut. Processes move money between accounts of a durable map, and one process makes a checkpoint every so
 * often: it holds their lock while the changed pages are copied, and not while the disk writes. Whatever happens to the machine, the ledger is
 * as a checkpoint found it: no money is lost, and none is there twice.
 */
#include <errno.h>
#include <inttypes.h>
#include <qalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCOUNTS 2000
#define MONEY    1000 /* in each account at first */

/* [ledger] */
struct receipt { /* of the last transfer; it is as long as its text */
	uint64_t number;
	char text[];
};

struct account {
	long balance;
	uint64_t transfers;
	struct receipt *last;
};

struct ledger {
	struct qalloc_lock lock;
	uint64_t transfers;
	struct account accounts[ACCOUNTS];
};
/* [ledger] */

static int fail(const char *what)
{
	fprintf(stderr, "ledger: %s: %s\n", what, qalloc_errmsg() ? qalloc_errmsg() : strerror(errno));
	return 2;
}

/* [create] */
static int create(const char *path)
{
	void *map = qalloc_makedynmap(16 << 20, NULL, path, 4);
	struct ledger *ledger = map ? qalloc_find_or_create(map, "ledger", sizeof(*ledger), NULL, NULL, NULL) : NULL;

	if (ledger == NULL)
		return fail(path);
	for (int i = 0; i < ACCOUNTS; i++)
		ledger->accounts[i].balance = MONEY;
	if (qalloc_durable(map) != 0) /* the first checkpoint */
		return fail(path);
	return qalloc_close(map) == 0 ? 0 : fail(path);
}
/* [create] */

/* [open] */
/*
 * The ledger, locked. A process that died with the lock may have left half a transfer: then all go back to the last checkpoint. After a power
 * cut the library did that: the lock is held in each checkpoint, for it was held at the capture, and its holder is gone.
 */
static struct ledger *open_ledger(const char *path, void **map)
{
	struct qalloc_opening opening;
	struct ledger *ledger;
	int error;

	*map = qalloc_open(path, 0);
	ledger = *map ? qalloc_getroot(*map, "ledger") : NULL;
	if (ledger == NULL || qalloc_opening(*map, &opening) != 0)
		return NULL;
	error = qalloc_lock(*map, &ledger->lock);
	if (error == 0 || (error == EOWNERDEAD && opening.restored))
		return ledger;
	qalloc_close(*map);
	return error == EOWNERDEAD && qalloc_restore(path) == 0 ? open_ledger(path, map) : NULL;
}
/* [open] */

/* [transfer] */
static int write_receipt(void *map, struct account *account, uint64_t number)
{
	struct receipt *receipt = qalloc_malloc(map, sizeof(*receipt) + number % 1000 + 1);

	if (receipt == NULL)
		return -1;
	receipt->number = number;
	memset(receipt->text, 'x', number % 1000 + 1);
	qalloc_free(account->last, map);
	account->last = receipt;
	account->transfers++;
	return 0;
}

/* Many stores, and any of them may be the last one before the power fails. */
static int transfer(void *map, struct ledger *ledger)
{
	struct account *from = &ledger->accounts[random() % ACCOUNTS], *to = &ledger->accounts[random() % ACCOUNTS];
	long amount = random() % 100;

	ledger->transfers++;
	from->balance -= amount;
	if (write_receipt(map, from, ledger->transfers) != 0 || write_receipt(map, to, ledger->transfers) != 0)
		return -1;
	to->balance += amount;
	return 0;
}
/* [transfer] */

/* Until it is killed, or another one is while it holds the lock. */
static int work(void *map, struct ledger *ledger)
{
	do {
		if (transfer(map, ledger) != 0)
			return fail("no receipt");
		qalloc_unlock(map, &ledger->lock);
	} while (qalloc_lock(map, &ledger->lock) == 0);
	return 1;
}

/* [checkpoint] */
static int checkpoint(void *map, struct ledger *ledger)
{
	uint64_t transfers = ledger->transfers;
	int captured = qalloc_capture(map); /* with the lock: no transfer is half done */

	qalloc_unlock(map, &ledger->lock);
	if (captured != 0 || qalloc_commit(map) != 0) /* without: the others go on while the disk writes */
		return fail("no checkpoint");
	printf("%" PRIu64 "\n", transfers); /* these survive from here on */
	fflush(stdout);
	return 0;
}
/* [checkpoint] */

static int keep(void *map, struct ledger *ledger)
{
	int result;

	do
		result = checkpoint(map, ledger);
	while (result == 0 && usleep(5000) == 0 && qalloc_lock(map, &ledger->lock) == 0);
	return result ? result : 1;
}

/* Each transfer is in two accounts. */
static int sum(void *map, struct ledger *ledger)
{
	uint64_t transfers = 0, wrong = 0;
	struct qalloc_opening opening;
	long money = 0;

	for (const struct account *a = ledger->accounts; a < ledger->accounts + ACCOUNTS; a++) {
		money += a->balance;
		transfers += a->transfers;
		wrong += a->last != NULL && a->last->text[a->last->number % 1000] != 'x';
	}
	qalloc_opening(map, &opening);
	printf("%" PRIu64 " %ld %s\n", ledger->transfers, money, opening.restored ? "restored" : "kept");
	qalloc_unlock(map, &ledger->lock);
	if (money == (long)ACCOUNTS * MONEY && transfers == 2 * ledger->transfers && wrong == 0)
		return 0;
	fprintf(stderr, "ledger: the books are wrong: %" PRIu64 " transfers in the accounts, %" PRIu64 " receipts\n",
		transfers, wrong);
	return 1;
}

int main(int argc, char **argv)
{
	struct ledger *ledger;
	int result;
	void *map;

	if (argc < 3 || !strchr("cwks", argv[2][0]))
		return fputs("usage: ledger MAP create | work | keep | sum\n", stderr), 2;
	if (argv[2][0] == 'c')
		return create(argv[1]);
	srandom((unsigned)getpid());
	ledger = open_ledger(argv[1], &map);
	if (ledger == NULL)
		return fail(argv[1]);
	result = argv[2][0] == 'w' ? work(map, ledger) : argv[2][0] == 'k' ? keep(map, ledger) : sum(map, ledger);
	return qalloc_close(map) != 0 ? fail(argv[1]) : result;
}
