// The browser script of ovx-lite: <script defer src="…/js/ovx.js" data-key="pk_live_…"></script>
// As served, this has neither comment lines nor indentation. It must stay below 1,500 bytes gzipped.
(() => {
  let { ovx = {} } = window
  let { src, dataset } = document.currentScript
  let queue = ovx.q || []
  let path = url => url.replace(/[?#].*/, '')
  // The page that is shown, and the one before it. Before the first, that is where the visitor comes from.
  let url = path(document.referrer)
  let referrer
  // Without data-ids, the server tells visitors apart by itself.
  let visitorId = 'anonymous'
  let sessionId
  let storage = {}
  // Since when the page is visible, 0 while it is not, and how much of it has been seen, in percent.
  let since = 0
  let scroll = 0

  // Loaded twice, it works once.
  if (ovx.on) return

  // Storage throws in sandboxed frames.
  try {
    if (navigator.webdriver || localStorage.ovx_ignore) return window.ovx = () => {}
    storage = localStorage
  } catch {}

  // Whatever goes wrong in here is none of the page's business.
  let safe = work => (...args) => {
    try {
      work(...args)
    } catch (e) {
      console.warn(e)
    }
  }

  // crypto.randomUUID is missing where there is no https.
  let random = () => Date.now() + '' + Math.random()

  // A session ends after 30 minutes without an event.
  let identify = () => {
    if (dataset.ids == null) return
    let [id, last] = (storage.ovx_session || '').split(' ')
    sessionId = window.overcentricSessionId = Date.now() - last < 18e5 ? id : random()
    visitorId = window.overcentricDeviceId = storage.ovx_device || random()
    try {
      storage.ovx_session = sessionId + ' ' + Date.now()
      storage.ovx_device = visitorId
    } catch {
      storage = {}
      identify()
    }
  }

  let send = safe((type, data) => {
    // A page that is loaded in advance may never be seen.
    if (document.prerendering) return queue.push([type, data])
    if (type == 'pageview') {
      tell()
      referrer = url || undefined
      url = address()
      scroll = 0
    }
    identify()
    let to = path(src) + '/../../api/events'
    let body = JSON.stringify({ type, visitorId, sessionId, projectKey: dataset.key, url, referrer, data })
    navigator.sendBeacon && navigator.sendBeacon(to, body) ||
      fetch(to, { method: 'POST', body, keepalive: true }).catch(() => {})
  })

  // A hash route is a part of the path: https://a.b/app#/pricing is https://a.b/app/pricing.
  let address = () => location.href.replace(/\/?(\?[^#]*)?#!?(\/[^?#]+)|#.*/, '$2$1').replace(/(\?.*)\?/, '$1&')
  let route = () => path(address()) != path(url) && send('pageview')

  // A pixel more, as browsers round.
  let look = () => {
    scroll = Math.max(scroll, Math.min(100, (scrollY + innerHeight + 1) * 100 / document.documentElement.scrollHeight | 0))
  }

  let tell = () => {
    look()
    if (since) send('engagement', { ms: Date.now() - since, scroll })
    since = document.hidden ? 0 : Date.now()
  }

  let click = ({ button, target }) => {
    let named = target.closest('[data-ovx-event]')
    let a = target.closest('a[href]')
    // Button 1 is the middle one, which opens a tab; 2 opens a menu.
    if (button > 1) return
    if (named) {
      let data = {}
      for (let { name, value } of named.attributes) if (/^data-ovx-(?!event$)/.test(name)) data[name.slice(9)] = value
      send(named.dataset.ovxEvent, data)
    } else if (a) {
      send(
        /^http/.test(a.protocol) && a.host != location.host
          ? 'outbound'
          : a.attributes.download || /\.(pdf|zip|docx?|xlsx?|pptx?|csv|exe|dmg|mp[34])$/.test(a.pathname)
          ? 'download'
          : 'click',
        {
          href: /^http/.test(a.protocol) ? a.origin + a.pathname : a.protocol,
          id: a.getAttribute('id') || undefined
        }
      )
    }
  }

  let on = {
    click,
    auxclick: click,
    popstate: route,
    scroll: look,
    visibilitychange: tell,
    pagehide() {
      tell()
      since = 0
    },
    // Back from the cache, it is another look, from wherever.
    pageshow: e => e.persisted && send('pageview', void (url = since = 0)),
    // A form's own properties may be hidden by fields of the same name.
    submit: ({ target }) =>
      send('form_submit', {
        id: target.getAttribute('id') || undefined,
        name: target.getAttribute('name') || undefined,
        fields: [...new FormData(target).keys()]
      })
  }

  let begin = () => {
    for (let name in on) addEventListener(name, safe(on[name]), true)
    for (let name of ['pushState', 'replaceState']) {
      let original = history[name]
      history[name] = (...args) => {
        original.call(history, ...args)
        route()
      }
    }
    send('pageview')
    let [{ responseStatus } = {}] = performance.getEntriesByType('navigation')
    if (responseStatus == 404 || 404 in dataset) send('404', { referrer })
    for (let args of queue) send(...args)
  }

  window.ovx = send
  send.on = 1
  document.prerendering ? addEventListener('prerenderingchange', begin, true) : begin()
})()
