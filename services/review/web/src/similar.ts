// Which clips look like one of them, told by the small pictures of the filmstrip: so it is there for clips that nobody has
// decided over, of which nothing else is known yet.

import { effect } from "@preact/signals";
import { middle, stillUrl, type Clip, type Media } from "./api";
import { HEIGHT, likeness, lookOf, WIDTH, type Look } from "./likeness";
import { drawTile, picture, placeOf, tileOf } from "./sprites";
import { alike, clips, media, tell } from "./store";

const PICTURES_OF_A_CLIP = 3;

const canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
const pen = canvas.getContext("2d", { willReadFrequently: true })!;
pen.imageSmoothingQuality = "medium";

function read(draw: () => void): Look {
  pen.clearRect(0, 0, WIDTH, HEIGHT);
  draw();
  return lookOf(pen.getImageData(0, 0, WIDTH, HEIGHT).data);
}

/** How a clip looks at a quarter of it, in its middle and at three quarters: fades lie at the ends. One that has no tile of its own is seen by an exact still. */
async function looksOf(clip: Clip, found: Media): Promise<Look[]> {
  const map = found.sprite_map;
  const tiles = new Set<number>();
  for (let n = 1; map?.tiles && n <= PICTURES_OF_A_CLIP; n++) {
    const frame = clip.start_frame + Math.floor(((clip.end_frame - 1 - clip.start_frame) * n) / (PICTURES_OF_A_CLIP + 1));
    const tile = tileOf(map, frame, clip.start_frame, clip.end_frame);
    if (tile !== null) tiles.add(tile);
  }
  if (!map || !tiles.size) {
    const still = picture(stillUrl(clip.video_id, middle(clip), 90));
    await still.decode();
    return [read(() => pen.drawImage(still, 0, 0, WIDTH, HEIGHT))];
  }
  const looks: Look[] = [];
  for (const tile of tiles) {
    const at = placeOf(found, map, tile);
    const sheet = picture(at.url);
    await sheet.decode();
    looks.push(read(() => drawTile(pen, sheet, map, at, 0, 0, WIDTH, HEIGHT)));
  }
  return looks;
}

const known = new Map<string, Promise<Look[]>>();
const MOST_KNOWN = 20_000;

function remembered(clip: Clip, found: Media): Promise<Look[]> {
  let looks = known.get(clip.id);
  if (!looks) {
    if (known.size > MOST_KNOWN) known.clear();
    looks = looksOf(clip, found);
    // What could not be had is asked for again.
    looks.catch(() => known.delete(clip.id));
    known.set(clip.id, looks);
  }
  return looks;
}

/** Narrows the list to clips that look like one of them, those most alike first. */
export function onlyLike(clip: Clip): void {
  if (!media.value) tell("There is nothing to compare yet: the review copy is still being made. Try again once its picture is there.");
  else if (clips.value.length < 2) tell("This is the video's only clip; there is none to compare it with.");
  else alike.value = { clip, scores: new Map([[clip.id, 1]]) };
}

/** How well the pictures of one clip are found in another, on average. A black beginning alone makes two clips nothing like alike. */
function foundIn(some: Look[], others: Look[]): number {
  const best = some.map((one) => Math.max(...others.map((other) => likeness(one, other))));
  return best.reduce((sum, each) => sum + each, 0) / best.length;
}

const AT_ONCE = 6;
let comparing = false;

async function compare(): Promise<void> {
  comparing = true;
  try {
    for (let now = alike.peek(); now; now = alike.peek()) {
      const { clip, scores } = now;
      const found = media.peek();
      const next = clips.peek().filter(({ id }) => !scores.has(id)).slice(0, AT_ONCE);
      if (!found || !next.length) return;
      const model = await remembered(clip, found);
      const compared = await Promise.all(
        next.map(async (other) => {
          const looks = await remembered(other, found);
          return [other.id, Math.min(foundIn(model, looks), foundIn(looks, model))] as const;
        }),
      );
      if (alike.peek()?.clip === clip) alike.value = { clip, scores: new Map([...scores, ...compared]) };
    }
  } catch {
    alike.value = null;
    tell("The pictures to compare could not be had; try again when the connection is back.", "bad");
  } finally {
    comparing = false;
  }
}

// Clips that come later, by a split or from another person, are compared as well.
effect(() => {
  void clips.value;
  if (alike.value && !comparing) void compare();
});
