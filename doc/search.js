/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The search of the site, in the browser, with lunr. searchText (search_text.py) has a section each: address, page, heading, text.
 * The title counts ten times as much as the text. Where no section has all words, those that have some are shown.
 */
"use strict";

/* "PMDK's" is found by "pmdk", and qalloc_lock() by "lock". */
function wordsOf(text) {
	return text.replace(/['’]s\b/g, "") + " " + (text.match(/\w+_\w+/g) || []).join(" ").replace(/_/g, " ");
}

function searchIndex() {
	return lunr(function () {
		this.field("page", { boost: 4 });
		this.field("heading", { boost: 10 });
		this.field("text");
		searchText.forEach((section, i) => this.add({ id: i, page: wordsOf(section[1]), heading: wordsOf(section[2]), text: section[3].replace(/['’]s\b/g, "") }));
	});
}

/* A word also stands for those that begin with it. */
function search(index, words) {
	function ask(presence) {
		return index.query((query) => words.forEach((word) => {
			query.term(word, { presence: presence, boost: 10 });
		}));
	}

	let found = ask(lunr.Query.presence.REQUIRED);
	if (!found.length)
		found = ask(lunr.Query.presence.OPTIONAL);
	if (!found.length)
		found = index.query((query) => words.forEach((word) => {
			query.term(word, { wildcard: lunr.Query.wildcard.TRAILING, usePipeline: false });
		}));
	return found;
}

/* Some words before the first one that was found, and some behind it. */
function excerpt(text, words) {
	const lower = text.toLowerCase(), places = words.map((word) => lower.indexOf(word)).filter((at) => at >= 0);
	const at = places.length ? Math.min(...places) : 0, from = Math.max(0, text.lastIndexOf(" ", Math.max(0, at - 60)));

	const end = from + 240 < text.length ? text.lastIndexOf(" ", from + 240) : text.length;

	return (from ? "… " : "") + text.slice(from, end).trim() + (end < text.length ? " …" : "");
}

function marked(element, text, words) {
	const pattern = new RegExp("(" + words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|") + ")", "gi");

	text.split(pattern).forEach((part, i) => {
		const node = i % 2 ? document.createElement("mark") : document.createTextNode(part);

		if (i % 2)
			node.textContent = part;
		element.appendChild(node);
	});
}

function show(place, sections, words) {
	const list = document.createElement("ol");

	list.className = "found";
	sections.forEach((section) => {
		const item = list.appendChild(document.createElement("li")), link = item.appendChild(document.createElement("a"));

		link.href = section[0];
		link.textContent = section[1] === section[2] ? section[1] : section[1] + ": " + section[2];
		marked(item.appendChild(document.createElement("p")), excerpt(section[3], words), words);
	});
	place.appendChild(list);
}

function run() {
	const asked = new URLSearchParams(location.search).get("q") || "", place = document.getElementById("found");
	const words = lunr.tokenizer(asked).map((token) => token.toString().replace(/\(\)$/, "")).filter((word) => word);

	document.querySelectorAll("input[name=q]").forEach((input) => { input.value = asked; });
	if (!words.length)
		return;
	const found = search(searchIndex(), words).slice(0, 50), line = place.appendChild(document.createElement("p"));

	line.textContent = found.length ? found.length + (found.length === 50 ? " or more" : "") + " for “" + asked + "”" :
		"Nothing has “" + asked + "”. Try a word of the errno, of the call or of the message.";
	show(place, found.map((hit) => searchText[hit.ref]), words);
}

run();
