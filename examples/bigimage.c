/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An image larger than the memory that it may have: made, filtered by a median of 3 by 3, and checked on a crop that was
 * filtered in RAM. Nothing below calls anything but malloc, free and falloc; where the pixels are is xmemory's affair.
 *
 * usage: bigimage [WIDTH HEIGHT]
 */
#include <stdint.h>

/* [include] */
#include <xmemory.h> /* the last one: from here on malloc goes on in files */
/* [include] */

#define LIMIT ((size_t)64 << 20)
#define CROP  200

struct image {
	size_t width, height;
	uint16_t *pixels;
};

/* [new] */
static struct image new_image(size_t width, size_t height)
{
	struct image image = { width, height, malloc(width * height * sizeof(uint16_t)) };

	if (image.pixels == NULL) {
		perror("bigimage");
		exit(1);
	}
	return image;
}
/* [new] */

static uint16_t scene(size_t x, size_t y)
{
	size_t noise = (x * 2654435761u ^ y * 40503u) * 2246822519u;

	return (uint16_t)((x + y) / 8 + ((noise >> 20) % 50 == 0 ? 30000 : (noise >> 12) % 64));
}

static uint16_t median(const uint16_t *above, const uint16_t *here, const uint16_t *below)
{
	uint16_t v[9] = { above[-1], above[0], above[1], here[-1], here[0], here[1], below[-1], below[0], below[1] };

	for (int i = 0; i < 5; i++) /* as far as the middle */
		for (int j = i + 1; j < 9; j++)
			if (v[j] < v[i]) {
				uint16_t swap = v[i];

				v[i] = v[j];
				v[j] = swap;
			}
	return v[4];
}

static void filter(const struct image *in, struct image *out)
{
	size_t width = in->width;

	for (size_t y = 1; y + 1 < in->height; y++)
		for (size_t x = 1; x + 1 < width; x++) {
			const uint16_t *here = in->pixels + y * width + x;

			out->pixels[y * width + x] = median(here - width, here, here + width);
		}
}

/* Filter a crop of the scene by itself, in RAM, and compare. Returns how many pixels differ. */
static size_t check_crop(const struct image *done, const uint16_t *dark, size_t left, size_t top)
{
	struct image in = new_image(CROP, CROP), out = new_image(CROP, CROP);
	size_t wrong = 0;

	for (size_t y = 0; y < CROP; y++)
		for (size_t x = 0; x < CROP; x++)
			in.pixels[y * CROP + x] = (uint16_t)(scene(left + x, top + y) + dark[left + x]);
	filter(&in, &out);
	for (size_t y = 1; y + 1 < CROP; y++)
		for (size_t x = 1; x + 1 < CROP; x++)
			wrong += out.pixels[y * CROP + x] != done->pixels[(top + y) * done->width + left + x];
	free(in.pixels);
	free(out.pixels);
	return wrong;
}

/* What the camera gives for no light, a value for each column, comes from a file: falloc() gives its contents as a block. */
static uint16_t *dark_row(const char *name, size_t width)
{
	FILE *file = fopen(name, "wb");
	size_t bytes = 0;
	char *contents;

	for (size_t x = 0; file != NULL && x < width; x++)
		fwrite(&(uint16_t){ (uint16_t)(x % 17) }, sizeof(uint16_t), 1, file);
	/* [falloc] */
	contents = file != NULL && fclose(file) == 0 ? falloc(name, 0, &bytes) : NULL;
	if (contents == NULL || bytes != width * sizeof(uint16_t)) {
		perror(name);
		exit(1);
	}
	remove(name);
	return (uint16_t *)(void *)contents;
	/* [falloc] */
}

static struct image shoot(size_t width, size_t height, const uint16_t *dark)
{
	struct image image = new_image(width, height);

	for (size_t y = 0; y < height; y++)
		for (size_t x = 0; x < width; x++)
			image.pixels[y * width + x] = (uint16_t)(scene(x, y) + dark[x]);
	return image;
}

int main(int argc, char **argv)
{
	size_t width = argc == 3 ? strtoul(argv[1], NULL, 10) : 6000;
	size_t height = argc == 3 ? strtoul(argv[2], NULL, 10) : 6000;
	struct image in, out;
	struct xmemory_stats s;
	uint16_t *dark;
	size_t wrong;

	if (width < CROP || height < CROP)
		return fprintf(stderr, "usage: bigimage [WIDTH HEIGHT], each at least %d\n", CROP), 2;
	/* [limit] */
	xmemory_setlimit(LIMIT);
	dark = dark_row("bigimage.raw", width);
	in = shoot(width, height, dark);
	out = new_image(width, height);
	filter(&in, &out);
	/* [limit] */
	wrong = check_crop(&out, dark, 0, 0) + check_crop(&out, dark, width / 2 - CROP / 2, height / 2 - CROP / 2) +
		check_crop(&out, dark, width - CROP, height - CROP);
	/* [stats] */
	xmemory_stats(&s);
	printf("two images of %zu x %zu pixels, %zu MiB each, with %zu MiB of RAM to have: %zu MiB in RAM, %zu MiB in "
	       "%zu VM files\n",
	       width, height, width * height * 2 >> 20, LIMIT >> 20, (size_t)s.ram_bytes >> 20,
	       (size_t)s.vm_bytes >> 20, (size_t)s.vm_files);
	/* [stats] */
	printf("three crops, filtered in RAM: %zu pixels differ\n", wrong);
	free(in.pixels);
	free(out.pixels);
	free(dark);
	return wrong != 0;
}
