// Keeps a view up to date for as long as it is shown.

// The life of one view: ends when another is shown. `every` calls at once and then again and again, a pause after
// each answer, not while the page is hidden, until the work returns false. It returns a function that calls out of turn.
export function life() {
  const ended = new AbortController();
  const every = (pause, work) => {
    let timer;
    let busy = false;
    let again = false;
    let done = false;
    const turn = async () => {
      clearTimeout(timer);
      if (ended.signal.aborted || document.hidden) return;
      // Who asks meanwhile wants to see what holds from now on, which the answer under way may not tell.
      if (busy) return void (again = true);
      busy = true;
      let go;
      try {
        go = await work(ended.signal);
      } catch (error) {
        if (error.name !== "AbortError") console.error(error);
      }
      busy = false;
      done = go === false;
      if (ended.signal.aborted) return;
      if (again) {
        again = false;
        turn();
      } else if (!done) timer = setTimeout(turn, pause);
    };
    document.addEventListener("visibilitychange", () => done || turn(), { signal: ended.signal });
    ended.signal.addEventListener("abort", () => clearTimeout(timer));
    turn();
    return turn;
  };
  return { signal: ended.signal, every, end: () => ended.abort() };
}
