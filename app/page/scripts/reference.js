// The API reference, from the description that this service itself serves.

SwaggerUIBundle({
  url: "/openapi.json",
  domNode: document.getElementById("reference"),
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  validatorUrl: null, // it would send the description to another host
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tagsSorter: "alpha",
});
