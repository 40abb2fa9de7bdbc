// The tracker of ovx-lite: <script defer src="…/js/ovx.js" data-key="pk_live_…"></script>
// The server removes comment lines and indentation. The result must stay below 1,500 bytes gzipped.
(() => {
  let { ovx = {} } = window
  let { src, dataset } = document.currentScript
  let queue = ovx.q || []
  let path = url => url.replace(/[?#].*/, '')
  // The current page and the previous one. For the first page, the previous one is the document's referrer.
  let url = path(document.referrer)
  let referrer
  // Without data-ids, the server identifies visitors by IP address and user agent.
  let visitorId = 'anonymous'
  let sessionId
  let storage = {}
  // When the page became visible (0 while it is hidden), and the maximum scroll depth in percent.
  let since = 0
  let scroll = 0

  // If the page loads the script twice, only the first copy runs.
  if (ovx.on) return

  // Access to the storage throws in sandboxed frames.
  try {
    if (navigator.webdriver || localStorage.ovx_ignore) return window.ovx = () => {}
    storage = localStorage
  } catch {}

  // An error in the tracker must not break the page.
  let safe = work => (...args) => {
    try {
      work(...args)
    } catch (e) {
      console.warn(e)
    }
  }

  // crypto.randomUUID is missing without https.
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
    // A prerendered page may never be shown.
    if (document.prerendering) return queue.push([type, data])
    if (type == 'pageview') {
      flush()
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

  // One extra pixel, because browsers round these numbers.
  let onScroll = () => {
    scroll = Math.max(scroll, Math.min(100, (scrollY + innerHeight + 1) * 100 / document.documentElement.scrollHeight | 0))
  }

  // Sends the visible time and the scroll depth since the last call.
  let flush = () => {
    onScroll()
    if (since) send('engagement', { ms: Date.now() - since, scroll })
    since = document.hidden ? 0 : Date.now()
  }

  let click = ({ button, target }) => {
    let named = target.closest('[data-ovx-event]')
    let a = target.closest('a[href]')
    // Button 1, the middle one, opens a tab; button 2 opens a menu.
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
    scroll: onScroll,
    visibilitychange: flush,
    pagehide() {
      flush()
      since = 0
    },
    // A page restored from the back/forward cache is a new pageview without a referrer.
    pageshow: e => e.persisted && send('pageview', void (url = since = 0)),
    // A field named "id" or "name" would hide the form's own property, so read the attribute.
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
