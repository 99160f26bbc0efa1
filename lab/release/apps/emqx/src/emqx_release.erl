%% @doc Which release this is. The builder defines the macro.
-module(emqx_release).
-export([version/0]).

-spec version() -> string().
version() -> ?RELEASE_VERSION.
