// The routes in an application of their own, to try them: EXPORT_API_URL, EXPORT_API_TOKEN, PORT.
import express from "express";
import { exportRoutes } from "./exports.js";

const app = express();
app.use("/api", exportRoutes({ url: process.env.EXPORT_API_URL, token: process.env.EXPORT_API_TOKEN }));
const server = app.listen(Number(process.env.PORT ?? 3001), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}/api/batches`);
});
