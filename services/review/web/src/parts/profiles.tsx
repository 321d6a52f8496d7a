// The choice of what clips are delivered as.

import type { Signal } from "@preact/signals";
import type { ProfilesOut } from "../served";
import { useLoad } from "./load";

export function Profiles({ chosen, legend }: { chosen: Signal<string[]>; legend: string }) {
  const known = useLoad<ProfilesOut>("/api/profiles", false).data?.profiles ?? [];
  return (
    <fieldset class="choices">
      <legend>{legend}</legend>
      {known.map(({ name, purpose }) => (
        <label key={name} class="check" title={purpose}>
          <input
            type="checkbox"
            checked={chosen.value.includes(name)}
            onChange={(event) => (chosen.value = event.currentTarget.checked ? [...chosen.value, name] : chosen.value.filter((one) => one !== name))}
          />
          {name}
        </label>
      ))}
    </fieldset>
  );
}
