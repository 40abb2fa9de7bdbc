// The dashboard with a script: links within it lead there in place, keys do what links do, the number of those who are
// active follows, and the chart says what one points at. Loaded after ui.js, whose functions it uses.
{
  const dashboard = () => document.querySelector('main[data-dashboard]')
  const isHere = (url) => url.origin === location.origin && url.pathname === location.pathname

  // Shows another period, filter or tab. What has the focus keeps it, if it is still there.
  let latest
  const go = async (url, returning = false) => {
    latest?.abort()
    const mine = (latest = new AbortController())
    dashboard().setAttribute('aria-busy', 'true')
    try {
      const { answer, page } = await load(url, { signal: mine.signal })
      const [old, fresh] = [dashboard(), page.querySelector('main[data-dashboard]')]
      if (mine !== latest) return
      if (!fresh) throw new Error('another kind of page')
      const held = document.activeElement
      const [inside, href, id] = [old.contains(held), held?.getAttribute('href'), held?.closest('[id]')?.id]
      if (!returning) show(answer.url)
      document.title = page.title
      $$('details[id][open]', old).forEach((open) => fresh.querySelector(`#${open.id}`)?.setAttribute('open', ''))
      swap(old, fresh)
      if (inside) attendTo(fresh, href, id)
    } catch (problem) {
      if (problem.name === 'AbortError') return
      if (returning) location.reload()
      else location.assign(url)
    }
  }
  const attendTo = (fresh, href, id) => {
    const same = $$('a', fresh).filter((link) => href && link.getAttribute('href') === href)
    const link = same.find((one) => one.closest('[id]').id === id) || same[0] || $$('[data-chip]', fresh).at(-1)
    const at = link?.closest('details:not([open])')?.querySelector('summary') || link || fresh
    at.focus({ preventScroll: true })
  }
  const follow = (link) => link && (isHere(link) ? go(link.href) : location.assign(link.href))

  addEventListener('click', (event) => {
    $$('details.menu[open]').forEach((menu) => (menu.open = menu.contains(event.target)))
    const link = event.target.closest?.('main[data-dashboard] a[href]')
    const special = event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey
    if (!link || special || !isHere(link) || link.target || link.hasAttribute('download')) return
    if (link.getAttribute('href').startsWith('#')) return
    event.preventDefault()
    go(link.href.replace(/#.*/, ''))
  })
  addEventListener('submit', (event) => {
    const form = event.target
    if (form.method !== 'get' || !form.closest('main[data-dashboard]')) return
    event.preventDefault()
    go(`${form.action}?${new URLSearchParams(new FormData(form))}`)
  })
  // Back and forth, in place. At a popstate, ui.js loads all of the page again unless it is the one that is shown, so
  // it is made that before. Where browsers do not announce it, all of the page it is.
  let returns = false
  globalThis.navigation?.addEventListener('navigate', ({ navigationType, destination }) => {
    const to = new URL(destination.url)
    const query = to.pathname + to.search
    if (navigationType !== 'traverse' || !destination.sameDocument || !isHere(to) || shown === query) return
    returns = Boolean(dashboard())
    if (returns) shown = query
  })
  addEventListener('popstate', () => {
    if (returns) go(location.href, true)
    returns = false
  })

  addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !dashboard()) return
    const help = document.querySelector('#help')
    const menu = document.querySelector('details.menu[open]')
    if (help?.open) return
    if (event.key === 'Escape' && menu) {
      menu.open = false
      menu.querySelector('summary').focus()
      return
    }
    if (event.target.closest?.('input, select, textarea')) return
    if (event.key === 'Escape') follow($$('[data-chip]').at(-1))
    else if (event.key === '?') help?.showModal()
    else if (!event.repeat) follow($$('[data-key]').find((link) => link.dataset.key === event.key?.toUpperCase()))
  })

  // One stream, and none while nobody sees the page: a browser has few connections to spare.
  let stream
  const listen = () => {
    const live = document.hidden ? '' : dashboard()?.dataset.live
    const url = live ? new URL(live, location).href : ''
    if (stream?.url === url && stream.readyState !== EventSource.CLOSED) return
    stream?.close()
    stream = url ? new EventSource(url) : undefined
    if (!stream) return
    stream.onmessage = ({ data }) => {
      const { active } = JSON.parse(data)
      $$('[data-active]').forEach((number) => {
        number.textContent = active.toLocaleString('en')
        number.parentElement.classList.toggle('some', active > 0)
      })
    }
    // It tries again by itself, but not after a proxy has said that the server is gone.
    stream.onerror = () => stream?.readyState === EventSource.CLOSED && setTimeout(listen, 10000)
  }
  document.addEventListener('visibilitychange', listen)
  addEventListener('pageshow', listen)
  addEventListener('pagehide', () => {
    stream?.close()
    stream = undefined
  })

  // What the chart says of the point under the pointer, or of the one that the arrow keys have come to.
  const point = (figure) => {
    const [plot, svg] = [figure.querySelector('.plot'), figure.querySelector('.plot > svg')]
    const [strips, rows] = [$$('.targets rect', svg), $$('tbody tr', figure)]
    const words = strips.map((strip) => {
      const title = strip.querySelector('title')
      title.remove() // or the browser would show it, too
      return title.textContent
    })
    const make = (className) => plot.appendChild(Object.assign(document.createElement('div'), { className, hidden: true }))
    const [line, dot, tip] = ['cursor', 'spot', 'tip'].map(make)
    const [day, told, marked] = ['strong', 'span', 'span'].map((tag) => tip.appendChild(document.createElement(tag)))
    let at = -1

    const hide = () => [line, dot, tip].forEach((part) => (part.hidden = true))
    const tell = (next) => {
      at = next
      const { x, y } = strips[at].dataset
      day.textContent = rows[at].cells[0].textContent
      told.textContent = words[at].slice(day.textContent.length + 2)
      marked.textContent = (svg.querySelector(`.mark[x="${x}%"] title`)?.textContent ?? '').replace(/^(?=.)/gm, '◆ ')
      line.hidden = tip.hidden = false
      dot.hidden = y === undefined
      line.style.left = dot.style.left = `${x}%`
      dot.style.top = `${y ?? 0}%`
      const [left, top] = [(plot.clientWidth * x) / 100, (plot.clientHeight * (y ?? 50)) / 100]
      tip.style.left = `${Math.max(-40, Math.min(plot.clientWidth - tip.offsetWidth, left - tip.offsetWidth / 2))}px`
      tip.style.top = `${top - tip.offsetHeight - 14 < -30 ? top + 14 : top - tip.offsetHeight - 14}px`
    }

    const under = (event) => {
      const found = strips.indexOf(event.target)
      if (found >= 0) tell(found)
    }
    svg.tabIndex = 0
    svg.addEventListener('pointermove', under)
    svg.addEventListener('pointerdown', under)
    plot.addEventListener('pointerleave', hide)
    svg.addEventListener('blur', () => {
      tip.removeAttribute('aria-live')
      hide()
    })
    svg.addEventListener('keydown', (event) => {
      const last = strips.length - 1
      const known = strips.findLastIndex((strip) => strip.dataset.y !== undefined)
      const start = at < 0 ? Math.max(known, 0) + 1 : at
      const to = { ArrowLeft: start - 1, ArrowRight: at < 0 ? 0 : at + 1, Home: 0, End: last }[event.key]
      if (event.key === 'Escape' && !tip.hidden) hide()
      else if (to === undefined) return
      else {
        tip.setAttribute('aria-live', 'polite')
        tell(Math.max(0, Math.min(last, to)))
      }
      event.preventDefault()
    })
  }

  const ready = (within) => {
    $$('[data-chart]', within).forEach(point)
    $$('[data-help]', within).forEach((button) => {
      const help = button.parentElement.querySelector('dialog')
      button.hidden = false
      button.addEventListener('click', () => help.showModal())
      help.addEventListener('click', (event) => {
        // Beside it, it is the dialog itself that is clicked.
        if (event.target === help || event.target.closest('[data-close]')) help.close()
      })
    })
    listen()
  }

  // Whatever ui.js puts on the page gets its life from there, and this.
  const plainly = enliven
  enliven = (within) => {
    plainly(within)
    ready(within)
  }
  ready(document)
}
