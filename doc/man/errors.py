# SPDX-License-Identifier: BSD-3-Clause
"""Finds the errors of a function in its comment: in what follows `errno` in a paragraph of its own, in @return and in @retval.

    errno[, when ...][:] CLAUSE; CLAUSE; and CLAUSE. More text.
    ... or the error: CLAUSE; CLAUSE.

A clause is codes and a reason (`ENOSPC, EDQUOT no disk space`), codes alone (the reason is in the overview's table), another
function (`as mmalloc()`; `else as ...` for all that is not listed here), a manual page (`else as open(2)`) or `the table above`
(in a part of a header: `the table in qalloc.h`).
"""
import errno
import re

from headers import Problem

CODES = {name for name in dir(errno) if name.startswith('E')}
CODE = r'E[A-Z0-9]{2,}\b'
GROUP = rf'{CODE}(?:(?:, and |, or |, | or | and ){CODE})*(?:, \.\.\.)?'
CALL = r'\w+\(\)'
PAGE = r'\w+\(\d\)'
START = re.compile(rf'(?:(?:,? with )?\berrno(?:, (?P<when>when [^:]*))?:? ?|(?P<value>\bthe error): )(?={CODE}|as )')
AS = re.compile(rf'^[Aa]s (?:for |in )?({CALL}(?: or {CALL})*)')


class Errors:
	def __init__(self):
		self.items = []     # ([code], reason)
		self.like = []      # (function, only what is not listed here, in which case)
		self.pages = []     # 'open(2)'
		self.opening = False
		self.when = None    # 'when nothing was changed'
		self.value = False  # the error is returned, errno stays


def balanced_split(text, separator):
	"""At the separator, where it is in no parentheses."""
	parts, depth, last = [], 0, 0
	found = {match.start(): match.end() for match in re.finditer(separator, text)}
	for at, char in enumerate(text):
		depth += (char == '(') - (char == ')')
		if depth == 0 and at in found and at >= last:
			parts.append(text[last:at])
			last = found[at]
	return parts + [text[last:]]


def list_end(text):
	"""Up to a full stop that no further code follows."""
	for match in re.finditer(rf'\.(?:\s+|$)(?!{CODE})', text):
		if text[:match.start()].count('(') == text[:match.start()].count(')') and not text[:match.start()].endswith('..'):
			return match.start()
	return len(text)


def clauses(text):
	"""Codes begin a new clause at a semicolon, and at a comma where a reason has begun."""
	for part in balanced_split(text, rf';\s+|\.\s+(?={CODE})'):
		group = re.match(rf'(?:and |also )*{GROUP}', part.strip())
		head = group.group() if group else ''
		first, *others = balanced_split(part.strip()[len(head):], rf', (?:and )?(?={CODE})')
		yield head + first
		yield from others


def parse(text, errors, where):
	"""Adds what the text says to errors; returns the text without it."""
	like = AS.match(text)
	start = START.search(text)
	if like and not start:
		begin, rest = 0, text
	elif start:
		begin, rest = start.start(), text[start.end():]
	else:
		stray = re.search(CODE, text)
		if stray and stray.group() in CODES:
			raise Problem(where, f'{stray.group()} without "errno" before it')
		return text
	if start:
		errors.when = start.group('when')
	end = list_end(rest)
	for clause in clauses(rest[:end]):
		parse_clause(clause.strip(), errors, where)
	if begin == 0 and like:
		return like.group() + rest[end:]
	before = text[:begin].rstrip(' ;')
	if start.group('value'):
		errors.value = True
		return f'{before} the error.'
	if not before:
		before = 'errno is set'
	elif start.group().lstrip(', ').startswith('with') or 'NULL' in before.split('. ')[-1]:
		before = before.rstrip('.')
		before += ' with errno set' if before.endswith('NULL') or not start.group().startswith('errno') else ', with errno set'
	else:
		before += ' errno is set'
	return before + (rest[end:] or '.')


def parse_clause(clause, errors, where):
	clause = re.sub(r'^(?:and|also)\s+', '', clause)
	otherwise = clause.startswith('else ')
	clause = clause.removeprefix('else ')
	group = re.match(rf'({GROUP})[,:]?\s*(.*)$', clause)
	like = AS.match(clause)
	if re.match(r'(?:from )?the table above$|all that opening a file can end with \(see the table (?:above|in \w+\.h)\)$', clause):
		errors.opening = True
	elif like:
		for name in re.findall(r'\w+(?=\(\))', like.group(1)):
			errors.like.append((name, otherwise, clause[like.end():].strip()))
	elif re.match(rf"(?:as )?{PAGE}(?:, {PAGE})*(?:'s)?$", clause):
		errors.pages += re.findall(PAGE, clause)
	elif group:
		codes = re.findall(CODE + r'|\.\.\.', group.group(1))
		wrong = [code for code in codes if code not in CODES and code != '...']
		if wrong:
			raise Problem(where, f'{wrong[0]} is no errno')
		errors.items.append((codes, re.sub(r'^(?:when|for) ', '', group.group(2))))
	else:
		raise Problem(where, f'not understood among errors: {clause}')


def of_function(doc):
	"""(errors, body without the paragraphs that list them, text of @return, texts of @retval)"""
	errors = Errors()
	body = []
	for kind, content in doc.body:
		if kind == 'text' and re.match(r'errno\b', content):
			content = parse(content, errors, doc.where)
			if content == 'errno is set.':
				continue
		body.append((kind, content))
	returns = parse(doc.returns, errors, doc.where)
	retvals = [(value, parse(text, errors, doc.where)) for value, text in doc.retvals]
	return errors, body, returns, retvals


def resolve(name, functions, defaults):
	"""The errors of a function with those of the functions that it refers to: items, pages, and the header whose table of opening
	belongs to them."""
	function = functions[name]
	own = function.errors
	items, pages = [], list(own.pages)
	opening = function.header if own.opening else None
	for codes, reason in own.items:
		if reason and not reason.startswith('('):
			items.append((codes, reason))
		else:
			items += [([code], f'{default(defaults, code, function.doc.where)} {reason}'.strip()) for code in codes]
	listed = {code for codes, reason in items for code in codes if not MORE.match(reason)}
	for other, otherwise, case in own.like:
		if other not in functions:
			raise Problem(function.doc.where, f'{other}() is not known')
		if case:
			pages.append(f'{other}(3), {case}')
			continue
		theirs, their_pages, their_opening = resolve(other, functions, defaults)
		items += restrict(theirs, lambda code: not otherwise or code not in listed)
		pages += their_pages
		opening = opening or their_opening
	unique = []
	for item in joined(items):
		if item not in unique:
			unique.append(item)
	return unique, list(dict.fromkeys(pages)), opening


MORE = re.compile('also |only ')


def joined(items):
	"""`also when ...` and `only when ...` go to the reason that they add to."""
	for codes, reason in [item for item in items if MORE.match(item[1])]:
		base = next((item for item in items if codes[0] in item[0] and not MORE.match(item[1])), None)
		if base:
			items[items.index((codes, reason))] = (codes, f'{base[1]}; {reason}')
			rest = [code for code in base[0] if code not in codes]
			items[items.index(base):items.index(base) + 1] = [(rest, base[1])] if rest else []
	return items


def restrict(items, wanted):
	kept = (([code for code in codes if code == '...' or wanted(code)], reason) for codes, reason in items)
	return [item for item in kept if item[0] and item[0] != ['...']]


def default(defaults, code, where):
	if code not in defaults:
		raise Problem(where, f'{code} has no reason, here or in the overview')
	return defaults[code]
