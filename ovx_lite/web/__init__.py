"""HTTP endpoints: `api` for programs, `ui` for people, `common` for both."""
